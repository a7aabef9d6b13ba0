//! The Mac's end of its remote twin: tells the appliance what the screen shows and what the person in front of it says, and listens
//! for what people say from afar. Two threads beside the worker, because that is busy while an action is at work.
//!
//! Neither waits for the other side longer than one request: a screen that was not told is told again, and what a person said and
//! did not arrive is shown to them, to be said again.
//!
//! Must not know: pages, how a run is followed.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wizard::{Down, Say, Told};
use crate::api::runner::ChooseDestination;
use crate::api::wizard::{
    Acknowledge, AskNews, Descent, GoesDown, News, RemoteOrder, Said, Say as SayBody, SayAnswers,
    SayDestination, ScreenReport, ScreenTaken, TechnicianMessage,
};
use crate::client::{Client, ClientError, Patience};
use crate::value::Secret;

/// How long one question for news is held.
const WAIT: u32 = 10;
/// How often a screen that does not change is told: the appliance knows by it that the Mac is there.
const AGAIN: Duration = Duration::from_secs(15);
/// How long a restart waits for the appliance to be told of it.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Before the next question, when the last one failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Who the appliance is and as whom it is spoken to. Cheap to clone; the worker tells, the threads use it.
#[derive(Clone, Default)]
pub struct Desk(Arc<(Mutex<Known>, Condvar)>);

#[derive(Clone, Default)]
struct Known {
    /// With the session's token.
    session: Option<Client>,
    /// Number of the run, with its token.
    run: Option<(i64, Client)>,
    /// Of the technician who is logged in here.
    pass: Option<Secret>,
}

/// What the desk has to tell the appliance.
#[derive(Debug)]
pub enum Errand {
    /// What the screen shows.
    Screen(Box<ScreenReport>),
    /// What a person said.
    Say(Say),
}

impl Desk {
    /// The appliance answered a greeting: `client` bears the session's token.
    pub fn greeted(&self, client: Client) {
        let (known, changed) = &*self.0;
        known.lock().unwrap_or_else(PoisonError::into_inner).session =
            Some(client.with_patience(Patience::NONE));
        changed.notify_all();
    }

    /// A run is followed: `client` bears its token.
    pub fn follows(&self, run: i64, client: &Client) {
        let (known, _) = &*self.0;
        known.lock().unwrap_or_else(PoisonError::into_inner).run =
            Some((run, client.with_patience(Patience::NONE)));
    }

    /// A technician logged in here, or left.
    pub fn logged_in(&self, pass: Option<Secret>) {
        let (known, _) = &*self.0;
        known.lock().unwrap_or_else(PoisonError::into_inner).pass = pass;
    }

    /// No run is followed any more: what is shown is of none.
    pub fn follows_none(&self) {
        let (known, _) = &*self.0;
        known.lock().unwrap_or_else(PoisonError::into_inner).run = None;
    }

    /// Somebody here restarts this Mac or shuts it down. An appliance that does not answer at once does not hear of it.
    pub fn goes_down(&self, down: Down) {
        let known = self.known();
        let Some(session) = known.session else { return };
        let how = match down {
            Down::Restart => Descent::Restart,
            Down::ShutDown => Descent::ShutDown,
        };
        let body = GoesDown { how, run: known.run.map(|(run, _)| run), pass: known.pass };
        let (told, heard) = mpsc::channel();
        thread::spawn(move || {
            let answer = session.post::<_, Said>("/runner/v1/down", &body);
            // Who does not wait any more needs no answer.
            let _ = told.send(answer.map(drop));
        });
        match heard.recv_timeout(LAST_WORD) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the appliance was not told that this Mac goes down"),
            Err(_) => {
                tracing::info!("the appliance was not told that this Mac goes down: it does not answer")
            }
        }
    }

    fn known(&self) -> Known {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The session, as soon as there is one.
    fn session(&self) -> Client {
        let (known, changed) = &*self.0;
        let mut guard = known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = &guard.session {
                return session.clone();
            }
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells the appliance what it is given, until nobody gives any more. On a thread of its own.
    pub fn tell(&self, errands: &Receiver<Errand>, news: &Sender<Told>) {
        let mut screen: Option<Box<ScreenReport>> = None;
        let mut told = true;
        loop {
            let first = match errands.recv_timeout(if told { AGAIN } else { PAUSE }) {
                Ok(errand) => Some(errand),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            told = false;
            // Of several screens the last one counts.
            for errand in first.into_iter().chain(errands.try_iter()) {
                match errand {
                    Errand::Screen(report) => screen = Some(report),
                    Errand::Say(say) => {
                        if let Some(answer) = self.say(say) {
                            // A screen that is gone has no use for it.
                            let _ = news.send(answer);
                        }
                    }
                }
            }
            if let (Some(report), Some(session)) = (&screen, self.known().session) {
                told = session.post::<_, ScreenTaken>("/runner/v1/screen", report).is_ok();
            }
        }
    }

    /// Says it once. What comes of it is told: look again, or why it was not taken.
    fn say(&self, say: Say) -> Option<Told> {
        let known = self.known();
        let gone = || "the appliance does not know this Mac yet".to_owned();
        let to_run = |what: &str, body: &dyn Fn(&Client, &str) -> Result<(), String>| {
            let (run, client) = known.run.as_ref().ok_or_else(gone)?;
            body(client, &format!("/runner/v1/runs/{run}/{what}"))
        };
        let word = SayBody { pass: known.pass.clone() };
        let result = match say {
            Say::Answers(values) => {
                let values = values.iter().map(|(name, text)| (name.clone(), text.expose().to_owned()));
                let answers = SayAnswers { values: values.collect(), pass: known.pass.clone() };
                to_run("answers", &|client, path| post::<_, Said>(client, path, &answers))
            }
            Say::Destination(ChooseDestination { step, disk, partition }) => {
                let body = SayDestination { step, disk, partition, pass: known.pass.clone() };
                to_run("destination", &|client, path| post::<_, Said>(client, path, &body))
            }
            Say::Confirm => to_run("confirm", &|client, path| post::<_, Said>(client, path, &word)),
            Say::Cancel => to_run("cancel", &|client, path| post::<_, Said>(client, path, &word)),
            Say::Resume => to_run("resume", &|client, path| post::<_, Said>(client, path, &word)),
            Say::Read(message) => {
                let path = format!("/runner/v1/messages/{message}");
                let session = known.session.as_ref().ok_or_else(gone);
                let read =
                    session.and_then(|session| post::<_, TechnicianMessage>(session, &path, &Acknowledge {}));
                // It is shown again when it did not arrive and this Mac comes back: nothing for the person to do.
                return read.err().map(|why| {
                    Told::Lines(vec![format!(
                        "a message was read, and the appliance does not know it: {why}"
                    )])
                });
            }
        };
        Some(match result {
            Ok(()) => Told::Remote(RemoteOrder::Look),
            Err(why) => Told::NotTaken(why),
        })
    }

    /// Asks for what people say from afar, for ever. On a thread of its own.
    pub fn listen(&self, news: &Sender<Told>) {
        let (mut after, mut message) = (0, 0);
        loop {
            let session = self.session();
            let asked = AskNews { after, message, wait: WAIT };
            let heard = match session.post::<_, News>("/runner/v1/news", &asked) {
                Ok(heard) => heard,
                Err(error) => {
                    tracing::debug!(%error, "no news from the appliance");
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            after = heard.last.max(after);
            let orders = heard.orders.into_iter().map(Told::Remote);
            message = heard.messages.iter().map(|message| message.id).max().unwrap_or(message).max(message);
            let messages = heard.messages.into_iter().map(Told::Message);
            for told in orders.chain(messages) {
                if news.send(told).is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends it; why the appliance did not take it, in its words.
fn post<B: Serialize, T: DeserializeOwned>(client: &Client, path: &str, body: &B) -> Result<(), String> {
    client.post::<_, T>(path, body).map(drop).map_err(|error| match error {
        ClientError::Refused { problem, .. } => problem.error,
        other => other.to_string(),
    })
}
