//! Where is the appliance, when nobody named it: appliances announce themselves (DNS-SD). One that can be used is taken; of
//! several a person chooses; and who finds none is asked for an address. It is looked for until there is one.
//!
//! Must not know: how pages look, what the appliance is asked.

use std::time::Duration;

use super::failure::chain;
use super::link::{Interrupted, Link};
use super::wizard::{Order, Told};
use crate::client::{Discovery, Found, Verdict};

/// How often finds are looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// How long others have to be found too, before the only one is taken.
const OTHERS: Duration = Duration::from_secs(3);
/// How long nothing is found before a person is asked.
const ASK: Duration = Duration::from_secs(10);

const WHAT: &str = "Looking for an appliance on all networks";

/// What the finds mean.
#[derive(Debug, PartialEq, Eq)]
enum Decision<'a> {
    /// Go on looking.
    Wait,
    /// This one.
    Take(&'a Found),
    /// A person chooses, or types.
    Ask,
}

/// Decides after `waited`. `several` could be chosen from: the list is on screen, and is not taken away when one of them goes.
fn decide(found: &[Found], waited: Duration, several: bool) -> Decision<'_> {
    let mut usable = found.iter().filter(|found| found.verdict == Verdict::Trusted);
    match (usable.next(), usable.next()) {
        (Some(one), None) if waited >= OTHERS && !several => Decision::Take(one),
        (Some(_), _) if several => Decision::Ask,
        (Some(_), Some(_)) if waited >= OTHERS => Decision::Ask,
        (None, _) if several || waited >= ASK => Decision::Ask,
        _ => Decision::Wait,
    }
}

/// Looks until an appliance is found or named.
///
/// # Errors
/// [`Interrupted::Moved`] when a person named one, or a proxy; [`Interrupted::Down`].
pub fn find(link: &Link, ca: &[u8], unattended: bool) -> Result<String, Interrupted> {
    let mut search: Option<Discovery> = None;
    let mut several = false;
    let mut shown: Option<Vec<Found>> = None;
    let mut waited = Duration::ZERO;
    link.tell(Told::Waiting { what: WHAT.into(), error: None });
    loop {
        if search.is_none() {
            match Discovery::start(ca) {
                Ok(discovery) => search = Some(discovery),
                Err(error) => link.tell(Told::Waiting { what: WHAT.into(), error: Some(chain(&error)) }),
            }
        }
        let found = search.as_mut().map(Discovery::found).unwrap_or_default();
        match decide(&found, waited, several) {
            Decision::Wait => {}
            Decision::Take(found) => {
                link.tell(Told::Lines(vec![format!("found {} at {}", found.name, found.address)]));
                return Ok(found.address.clone());
            }
            Decision::Ask if shown.as_ref() == Some(&found) => {}
            Decision::Ask => {
                several |= found.iter().filter(|found| found.verdict == Verdict::Trusted).count() > 1;
                // Lines show it too, and with nobody to choose they say what to do.
                if unattended && several {
                    let error = "several appliances announce themselves: name one with rootstock.server=";
                    link.tell(Told::Waiting { what: WHAT.into(), error: Some(error.into()) });
                }
                link.tell(Told::Appliances(found.clone()));
                shown = Some(found);
            }
        }
        match link.order(GLANCE) {
            None => waited += GLANCE,
            Some(Order::Again | Order::Look) => (search, waited) = (None, Duration::ZERO),
            Some(Order::Moved(_)) => return Err(Interrupted::Moved),
            Some(Order::Down(down)) => return Err(Interrupted::Down(down)),
            Some(_) => waited += GLANCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u8, verdict: Verdict) -> Found {
        Found { name: "Lab".into(), address: format!("https://10.0.0.{number}"), verdict }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_only_appliance_that_can_be_used_is_taken_once_others_had_time() {
        let list = [found(1, Verdict::Trusted), found(2, Verdict::OtherAuthority)];
        assert_eq!(decide(&list, Duration::from_secs(1), false), Decision::Wait);
        assert_eq!(decide(&list, OTHERS, false), Decision::Take(&list[0]));
    }

    #[test]
    fn of_several_a_person_chooses_even_when_all_but_one_go() {
        let list = [found(1, Verdict::Trusted), found(2, Verdict::Trusted)];
        assert_eq!(decide(&list, Duration::from_secs(1), false), Decision::Wait);
        assert_eq!(decide(&list, OTHERS, false), Decision::Ask);
        assert_eq!(decide(&list[..1], LONG, true), Decision::Ask);
    }

    #[test]
    fn who_finds_none_that_can_be_used_is_asked_and_it_is_taken_when_it_comes() {
        let other = [found(2, Verdict::OtherAuthority)];
        assert_eq!(decide(&[], Duration::from_secs(5), false), Decision::Wait);
        assert_eq!(decide(&[], ASK, false), Decision::Ask);
        assert_eq!(decide(&other, ASK, false), Decision::Ask);
        let both = [found(1, Verdict::Trusted), other[0].clone()];
        assert_eq!(decide(&both, LONG, false), Decision::Take(&both[0]));
    }
}
