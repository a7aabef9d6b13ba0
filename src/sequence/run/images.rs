//! Images that a run will need, told before it starts: so it can be pinned to them, and refused before anything is erased.

use std::collections::BTreeSet;

use super::act::{CannotBegin, expand, values_of};
use crate::sequence::condition::If;
use crate::sequence::model::{Kind, Section};
use crate::sequence::name::VariableName;
use crate::sequence::program::{Body, Program};
use crate::sequence::template::Template;
use crate::sequence::uses;
use crate::sequence::variable::{Facts, Scope, Variables};
use crate::value::Pick;

/// An image that a sequence needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedImage {
    /// The step that needs it.
    pub step: String,
    /// Name in the library.
    pub name: String,
    /// Which version of it.
    pub pick: Pick,
    /// The step is done on this Mac for certain. Else a condition or a failure decides while the run goes on.
    pub certain: bool,
}

/// Every image that a run of `program` on this Mac may need.
///
/// # Errors
/// The step and why, when the name of an image that is needed for certain cannot be told before the run.
pub fn images_wanted(
    program: &Program,
    facts: &Facts,
    collection: &Scope,
    device: &Scope,
) -> Result<Vec<WantedImage>, (String, CannotBegin)> {
    let (mut collection, device) = (collection.clone(), device.clone());
    for name in program.prompted().filter(|name| !device.contains_key(*name)) {
        collection.entry(name.clone()).or_default();
    }
    let variables = Variables { facts: facts.clone(), collection, device, ..Variables::default() };
    // What is empty is asked for during the run.
    let empty =
        variables.all().into_iter().filter(|(name, value)| value.text.is_empty() && !name.is_read_only());
    let open = empty.map(|(name, _)| name).collect();
    let mut looking = Looking { program, variables, open, wanted: Vec::new() };
    looking.section(0, Section::Steps, true)?;
    Ok(looking.wanted)
}

struct Looking<'a> {
    program: &'a Program,
    variables: Variables,
    /// Names whose values are not known before the run.
    open: BTreeSet<VariableName>,
    wanted: Vec<WantedImage>,
}

impl Looking<'_> {
    fn section(
        &mut self,
        group: usize,
        section: Section,
        certain: bool,
    ) -> Result<(), (String, CannotBegin)> {
        let program = self.program;
        for item in program.children(group, section) {
            let entry = program.item(*item);
            let holds = entry.condition.as_ref().map_or(Some(true), |condition| self.holds(condition));
            if entry.left_out || holds == Some(false) {
                continue;
            }
            let certain = certain && holds == Some(true);
            match &entry.body {
                Body::Step(_, step) => self.step(&step.name, &step.kind, certain)?,
                Body::Group(..) => {
                    self.section(*item, Section::Steps, certain)?;
                    self.section(*item, Section::Catch, false)?;
                    self.section(*item, Section::Finally, certain)?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, name: &str, kind: &Kind, certain: bool) -> Result<(), (String, CannotBegin)> {
        match kind {
            Kind::SetVariables(set) if certain && set.iter().all(|one| self.is_known(&one.value)) => {
                match values_of(set, &self.variables) {
                    Ok(values) => {
                        for (name, value) in values {
                            match value.text.is_empty() {
                                true => self.open.insert(name.clone()),
                                false => self.open.remove(&name),
                            };
                            self.variables.set(name, value);
                        }
                    }
                    Err(error) => return Err((name.to_owned(), error)),
                }
            }
            Kind::ApplyImage(apply) => return self.image(name, &apply.image, apply.pick, certain),
            Kind::VerifyImage(verify) => {
                if let Some(image) = &verify.image {
                    return self.image(name, image, verify.pick, certain);
                }
            }
            // Also a step that is done for certain: the values of its variables come from the Mac.
            other => self.open.extend(uses::sets(other)),
        }
        Ok(())
    }

    fn image(
        &mut self,
        step: &str,
        image: &Template,
        pick: Pick,
        certain: bool,
    ) -> Result<(), (String, CannotBegin)> {
        match expand(&self.variables, "the image's name", image) {
            Ok(value) if self.is_known(image) => {
                self.wanted.push(WantedImage { step: step.to_owned(), name: value.text, pick, certain });
            }
            Ok(_) if certain => {
                let open = image.variables().find(|name| self.is_open(name));
                let name_of_image = open.cloned().map(CannotBegin::OpenImage);
                return name_of_image.map_or(Ok(()), |error| Err((step.to_owned(), error)));
            }
            Err(error) if certain => return Err((step.to_owned(), error)),
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    fn is_open(&self, name: &VariableName) -> bool {
        self.open.contains(name) || name.as_str().to_ascii_lowercase().starts_with("lastaction")
    }

    fn is_known(&self, text: &Template) -> bool {
        !text.variables().any(|name| self.is_open(name))
    }

    /// None: the run decides.
    fn holds(&self, condition: &If) -> Option<bool> {
        let open = condition.tests().iter().any(|test| test.reads().any(|name| self.is_open(name)));
        (!open).then(|| condition.verdict(&self.variables).holds)
    }
}
