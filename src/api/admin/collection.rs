//! Collections: sets of Macs, by hand and by rule.

use serde::{Deserialize, Serialize};

use super::{DeviceSummary, Variable};

/// A set of Macs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Collection {
    /// Name: `All Macs`, `Unknown Macs`, or one that an administrator gave.
    pub name: String,
    /// Made by the appliance; cannot be changed or deleted.
    pub built_in: bool,
    /// Who belongs to it, for people.
    pub description: String,
    /// How many of the Macs seen so far are members. `Unknown Macs` never has any.
    pub members: u32,
    /// To how many of the Macs seen so far it applies: its members, or the Macs that are not known.
    #[serde(default)]
    pub applies_to: u32,
    /// Its rule as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Of two collections that give a Mac the same variable, the one with the higher number wins.
    #[serde(default)]
    pub priority: i64,
    /// Whether its members are being judged anew; what a Mac is offered never waits for that.
    #[serde(default)]
    pub stale: bool,
}

/// One collection with what makes its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CollectionDetails {
    /// What lists show.
    #[serde(flatten)]
    pub summary: Collection,
    /// Numbers of the devices that were put into it.
    pub direct: Vec<i64>,
    /// Collections whose Macs belong to it.
    pub includes: Vec<String>,
    /// Collections whose Macs never do.
    pub excludes: Vec<String>,
    /// When it was made, milliseconds since 1970 UTC; none of a built-in one.
    pub created_ms: Option<i64>,
    /// When it was changed last, milliseconds since 1970 UTC.
    pub changed_ms: Option<i64>,
}

/// A new collection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateCollection {
    /// Its name; compared without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its rule; empty: none. `GET /api/v1/collections/facts` lists what it may ask.
    pub rule: String,
    /// Of two collections that give a Mac the same variable, the one with the higher number wins: 0 to 1000000.
    pub priority: i64,
    /// Collections whose Macs belong to it.
    pub includes: Vec<String>,
    /// Collections whose Macs never do.
    pub excludes: Vec<String>,
    /// Numbers of devices that are put into it.
    pub direct: Vec<i64>,
    /// The number of Macs, where the rule holds for every Mac that the appliance has seen: without it such a rule is refused.
    pub confirm: Option<u32>,
}

/// Changes of a collection; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditCollection {
    /// Another name; deployments and variables follow.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another rule; empty: none.
    pub rule: Option<String>,
    /// Another priority.
    pub priority: Option<i64>,
    /// Other included collections, all of them.
    pub includes: Option<Vec<String>>,
    /// Other excluded collections, all of them.
    pub excludes: Option<Vec<String>>,
    /// Numbers of devices to put into it.
    pub add: Vec<i64>,
    /// Numbers of devices to take out of it.
    pub remove: Vec<i64>,
    /// As in [`CreateCollection`].
    pub confirm: Option<u32>,
}

/// A rule to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    /// The rule.
    pub rule: String,
}

/// For whom a rule holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RulePreview {
    /// What is wrong with it; then it holds for nobody.
    pub findings: Vec<RuleFinding>,
    /// For how many Macs it holds.
    pub matches: u32,
    /// How many Macs there are.
    pub total: u32,
    /// The first of those for which it holds, by number.
    pub members: Vec<DeviceSummary>,
}

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RuleFinding {
    /// The first character that is wrong, counted from 0.
    pub at: u32,
    /// How many are.
    pub length: u32,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Something that rules may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RuleFact {
    /// Its name in rules.
    pub name: String,
    /// What values it has.
    pub kind: String,
    /// What it is.
    pub about: String,
}

/// What collections mean for one Mac.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DeviceScope {
    /// Every collection, and why the Mac belongs to it or not.
    pub collections: Vec<DeviceCollection>,
    /// Variables that it has from collections.
    pub collection_variables: Vec<InheritedVariable>,
    /// Its own, the name that an administrator gave it among them.
    pub device_variables: Vec<Variable>,
}

/// One collection and one Mac.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DeviceCollection {
    /// Name of the collection.
    pub name: String,
    /// Its priority; of the built-in ones below every other.
    pub priority: i64,
    /// Whether the Mac belongs to it.
    pub member: bool,
    /// Why, or why not.
    pub why: String,
}

/// A variable that a Mac has from a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct InheritedVariable {
    /// The variable; values of secrets are not given away.
    #[serde(flatten)]
    pub variable: Variable,
    /// The collection whose value is in force.
    pub collection: String,
    /// Collections of the same priority that give it another value: which one is in force is chance.
    pub tied_with: Vec<String>,
}
