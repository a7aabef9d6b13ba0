//! Deployments: a sequence, a collection, and the terms on which its Macs run it.

use serde::{Deserialize, Serialize};

use crate::api::runner::Purpose;
use crate::sequence::target::terms::{Rerun, Terms};

/// Make a sequence available to the Macs of a collection. The same sequence, collection and purpose again changes the terms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateDeployment {
    /// Name of the sequence.
    pub sequence: String,
    /// Name of the collection; compared without regard to case.
    pub collection: String,
    /// Whether it starts by itself.
    pub purpose: Purpose,
    /// When and how often.
    #[serde(default, skip_serializing_if = "DeploymentTerms::is_empty")]
    pub terms: DeploymentTerms,
    /// The number of Macs, where a Required deployment goes to a collection that a rule makes and that every Mac belongs to: without
    /// it such a deployment is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
}

impl CreateDeployment {
    /// Without further terms.
    pub fn new(
        sequence: impl Into<String>,
        collection: impl Into<String>,
        purpose: Purpose,
    ) -> CreateDeployment {
        let terms = DeploymentTerms::default();
        CreateDeployment {
            sequence: sequence.into(),
            collection: collection.into(),
            purpose,
            terms,
            confirm: None,
        }
    }
}

/// When and how often a deployment holds; as it was typed, what is left out is not laid down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentTerms {
    /// Local time of the zone from which on it holds, `2026-12-01 08:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Local time of the zone from which on it does not hold any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Zone of all times, `Europe/Berlin`; UTC when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Times of the week at which runs may begin, `mon-fri 18:00-06:00, sat,sun 00:00-24:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// When a Required one starts by itself again: `never`, `if-failed` (usual), `if-changed`, `always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun: Option<String>,
    /// Whether a person may choose a Required one that does not start by itself; usually so. Available ones always are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub independent: Option<bool>,
    /// Seconds that a person has to cancel a Required run; the appliance's when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub countdown: Option<u32>,
    /// Nothing begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Changes of a deployment; what is left out stays, an empty text takes the term away.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditDeployment {
    /// What changes.
    pub terms: DeploymentTerms,
}

/// Longest countdown: a day.
const LONGEST_COUNTDOWN: u32 = 86_400;

/// Terms that do not go together, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerms {
    /// A text is not what it should be.
    #[error("{term}: {why}")]
    Unreadable {
        /// Which term.
        term: &'static str,
        /// Why.
        why: String,
    },
    /// The end is not after the beginning.
    #[error("it expires at {expires}, which is not after {from}, from which on it is available")]
    Order {
        /// Beginning.
        from: String,
        /// End.
        expires: String,
    },
    /// Only Required ones start by themselves.
    #[error(
        "`{0}` belongs to Required deployments: an Available one is chosen by people, whenever it is available"
    )]
    NotAvailables(&'static str),
}

impl DeploymentTerms {
    /// Whether nothing is laid down.
    pub fn is_empty(&self) -> bool {
        *self == DeploymentTerms::default()
    }

    /// These terms with those changed that `edit` names.
    pub fn edited(&self, edit: &DeploymentTerms) -> DeploymentTerms {
        let text = |new: &Option<String>, old: &Option<String>| match new {
            None => old.clone(),
            Some(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        DeploymentTerms {
            from: text(&edit.from, &self.from),
            expires: text(&edit.expires, &self.expires),
            zone: text(&edit.zone, &self.zone),
            window: text(&edit.window, &self.window),
            rerun: text(&edit.rerun, &self.rerun),
            independent: edit.independent.or(self.independent),
            countdown: edit.countdown.or(self.countdown),
            paused: edit.paused.or(self.paused),
        }
    }

    /// As they are meant.
    ///
    /// # Errors
    /// See [`BadTerms`].
    pub fn read(&self, purpose: Purpose) -> Result<Terms, BadTerms> {
        fn one<T: std::str::FromStr>(term: &'static str, text: Option<&String>) -> Result<Option<T>, BadTerms>
        where
            T::Err: std::fmt::Display,
        {
            let parsed = text.map(|text| text.parse::<T>()).transpose();
            parsed.map_err(|error| BadTerms::Unreadable { term, why: error.to_string() })
        }
        let usual = Terms::of(purpose == Purpose::Required);
        if purpose == Purpose::Available {
            for (named, term) in
                [(self.rerun.is_some(), "rerun"), (self.independent == Some(false), "independent")]
            {
                if named {
                    return Err(BadTerms::NotAvailables(term));
                }
            }
        }
        if self.countdown.is_some_and(|seconds| seconds > LONGEST_COUNTDOWN) {
            let why = format!("at most {LONGEST_COUNTDOWN} seconds, a day");
            return Err(BadTerms::Unreadable { term: "countdown", why });
        }
        let rerun = self.rerun.as_ref().map(|text| {
            serde_json::from_value::<Rerun>(serde_json::Value::String(text.to_lowercase())).map_err(|_| {
                let why = format!(
                    "`{}` is none of never, if-failed, if-changed, always",
                    text.chars().take(40).collect::<String>()
                );
                BadTerms::Unreadable { term: "rerun", why }
            })
        });
        let terms = Terms {
            from: one("from", self.from.as_ref())?,
            expires: one("expires", self.expires.as_ref())?,
            zone: one("zone", self.zone.as_ref())?.unwrap_or(usual.zone),
            window: one("window", self.window.as_ref())?,
            paused: self.paused.unwrap_or(false),
            rerun: rerun.transpose()?.unwrap_or(usual.rerun),
            independent: self.independent.unwrap_or(usual.independent),
            required: usual.required,
        };
        if let (Some(from), Some(expires)) = (terms.from, terms.expires)
            && expires.in_zone(&terms.zone) <= from.in_zone(&terms.zone)
        {
            return Err(BadTerms::Order { from: from.to_string(), expires: expires.to_string() });
        }
        Ok(terms)
    }
}

/// A sequence deployed to a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Deployment {
    /// Number of the deployment.
    pub id: i64,
    /// Name of the sequence; a run takes the revision that is newest when it starts.
    pub sequence: String,
    /// Name of the collection.
    pub collection: String,
    /// Whether it starts by itself.
    pub purpose: Purpose,
    /// When it was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When and how often.
    #[serde(default)]
    pub terms: DeploymentTerms,
    /// Why nothing of it begins now, on any Mac; none: it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// One deployment and one Mac.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ExplainedOffer {
    /// Number of the deployment.
    pub deployment: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Name of the collection.
    pub collection: String,
    /// Purpose of the deployment.
    pub purpose: Purpose,
    /// Place in the Mac's list, from 1; none: it is not offered.
    pub place: Option<u32>,
    /// Whether it starts by itself.
    pub starts: bool,
    /// Short name of the reason why it is not offered, or does not start by itself: `paused`, `not-yet`, `expired`, `outside-window`,
    /// `has-run`, `succeeded`, `unchanged`, `identity-conflict`, `not-a-member`, `disabled`, `unreadable`, `needs-boot`, `shadowed`,
    /// `would-not-start`; empty: there is none.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// When time alone changes that, milliseconds since 1970 UTC.
    pub until_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> DeploymentTerms {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn section_6_terms_that_do_not_go_together_are_refused_by_name() {
        let read = |text: &str, purpose| terms(text).read(purpose).map_err(|error| error.to_string());
        assert!(read("{}", Purpose::Available).unwrap().independent);
        assert_eq!(read(r#"{"rerun":"if-changed"}"#, Purpose::Required).unwrap().rerun, Rerun::IfChanged);
        for (text, purpose, says) in [
            (r#"{"rerun":"never"}"#, Purpose::Available, "Required"),
            (r#"{"independent":false}"#, Purpose::Available, "Required"),
            (r#"{"rerun":"sometimes"}"#, Purpose::Required, "sometimes"),
            (r#"{"zone":"Berlin"}"#, Purpose::Required, "time zone"),
            (r#"{"from":"noon"}"#, Purpose::Required, "from: `noon`"),
            (r#"{"window":"noon"}"#, Purpose::Required, "window"),
            (r#"{"countdown":86401}"#, Purpose::Required, "countdown"),
            (r#"{"from":"2026-12-01 08:00","expires":"2026-12-01 08:00"}"#, Purpose::Required, "not after"),
        ] {
            let error = read(text, purpose).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn section_6_an_edit_changes_what_it_names_and_an_empty_text_takes_a_term_away() {
        let old = terms(r#"{"from":"2026-12-01","zone":"Europe/Berlin","countdown":5}"#);
        let new = old.edited(&terms(r#"{"from":"","paused":true}"#));
        assert_eq!(new, terms(r#"{"zone":"Europe/Berlin","countdown":5,"paused":true}"#));
    }
}
