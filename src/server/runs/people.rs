//! What people say to a run: stop, go on, answers. Recorded like everything else before it takes effect.

use super::{RunError, Runs};
use crate::sequence::name::VariableName;
use crate::sequence::run::event::Event;
use crate::sequence::variable::Value;
use crate::server::clock::now_ms;

impl Runs {
    /// A person stops the run.
    pub async fn cancel(&self, id: i64, by: &str) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        self.record(&held, &mut machine, Event::Cancelled { by: by.to_owned() }, None).await?;
        self.drive(&held, &mut machine).await
    }

    /// A person ends a run that waits for macOS; `done`: what is left was done, or is not needed.
    pub async fn close_run(&self, id: i64, by: &str, done: bool) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        self.record(&held, &mut machine, Event::Closed { by: by.to_owned(), done }, None).await
    }

    /// A person lets a failed run go on with the step that failed.
    pub async fn resume(&self, id: i64, by: &str) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        self.record(&held, &mut machine, Event::Resumed { by: by.to_owned() }, None).await
    }

    /// A person gives values to empty variables.
    pub async fn answer(
        &self,
        id: i64,
        by: &str,
        values: Vec<(VariableName, String)>,
    ) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        let values = values.into_iter().map(|(name, text)| (name, Value::plain(text))).collect();
        // The engine makes those secret that are.
        let values = machine.run.secret_where_asked(values, now_ms());
        if let Some((name, why)) = machine.run.refused_answer(&values) {
            return Err(RunError::NoAnswer { name, why });
        }
        self.record(&held, &mut machine, Event::Answered { by: by.to_owned(), values }, None).await
    }

    /// A person says that the run may go on after the step that waits.
    pub async fn confirm(&self, id: i64, by: &str) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        let step = machine.run.step_number();
        self.record(&held, &mut machine, Event::Confirmed { step, by: by.to_owned() }, None).await
    }
}
