//! Finds appliances that announce themselves by DNS-SD on every interface, and tells which of them our authority vouches for.
//!
//! What is found is hearsay (see `api::dnssd`): it is shown and tried, and TLS decides.
//!
//! Must not know: which appliance is taken.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use mdns_sd::{IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent};
use sha2::{Digest, Sha256};

use super::error::ClientError;
use super::tls;
use crate::api::dnssd::{Announcement, SERVICE};
use crate::api::runner::PROTOCOL;

/// Appliances that are remembered at most: anybody on the network can announce as many as they like.
const MOST: usize = 64;
/// How soon an address that this machine gets later is asked on.
const ADDRESSES_SECONDS: u32 = 1;

/// An appliance that announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where: `https://10.0.0.2:443`.
    pub address: String,
    /// Whether it can be used.
    pub verdict: Verdict,
}

/// Whether an appliance that was found can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It names our authority and speaks our protocol.
    Trusted,
    /// Its authority is another one.
    OtherAuthority,
    /// It is of another version.
    OtherProtocol(u32),
}

/// Discovery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The authority's file.
    #[error(transparent)]
    Authority(#[from] ClientError),
    /// No multicast.
    #[error("appliances cannot be looked for by DNS-SD: {0}")]
    Multicast(#[from] mdns_sd::Error),
}

/// SHA-256 of every certificate in a PEM file, hexadecimal: what appliances announce.
///
/// # Errors
/// When there is no certificate in it.
pub fn fingerprints(ca_pem: &[u8]) -> Result<Vec<String>, ClientError> {
    Ok(tls::authorities(ca_pem)?
        .iter()
        .map(|certificate| {
            Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02x}")).collect()
        })
        .collect())
}

/// A search under way, on a thread of the library; over when dropped.
pub struct Discovery {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    ours: Vec<String>,
    found: BTreeMap<String, Found>,
}

impl Discovery {
    /// Begins to look on all interfaces that have, or later get, an IPv4 address.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub fn start(ca_pem: &[u8]) -> Result<Discovery, DiscoveryError> {
        let ours = fingerprints(ca_pem)?;
        let daemon = ServiceDaemon::new()?;
        daemon.disable_interface(vec![IfKind::IPv6, IfKind::LoopbackV4])?;
        daemon.set_ip_check_interval(ADDRESSES_SECONDS)?;
        let events = daemon.browse(SERVICE)?;
        Ok(Discovery { daemon, events, ours, found: BTreeMap::new() })
    }

    /// What is there by now, those that can be used first. Does not wait.
    pub fn found(&mut self) -> Vec<Found> {
        while let Ok(event) = self.events.try_recv() {
            match event {
                ServiceEvent::ServiceResolved(service) => {
                    let known = self.found.contains_key(&service.fullname) || self.found.len() < MOST;
                    if let Some(found) = read(&service, &self.ours).filter(|_| known) {
                        self.found.insert(service.fullname.clone(), found);
                    }
                }
                ServiceEvent::ServiceRemoved(_, instance) => {
                    self.found.remove(&instance);
                }
                _ => {}
            }
        }
        listed(self.found.values().cloned().collect())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // A thread that has ended already needs no word.
        let _ = self.daemon.shutdown();
    }
}

/// Those that can be used first, each once: an appliance on two wires may have two instance names.
fn listed(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|one, other| {
        (one.verdict, &one.name, &one.address).cmp(&(other.verdict, &other.name, &other.address))
    });
    found.dedup_by(|one, other| one.address == other.address);
    found
}

fn read(service: &ResolvedService, ours: &[String]) -> Option<Found> {
    let said = Announcement::read(|key| service.get_property_val_str(key))?;
    found(&said, service.get_addresses_v4().into_iter().collect(), service.get_port(), ours)
}

/// One address is enough; one that every machine makes up for itself (RFC 3927) only when there is no other.
fn found(said: &Announcement, mut addresses: Vec<Ipv4Addr>, port: u16, ours: &[String]) -> Option<Found> {
    addresses.sort_by_key(|address| (address.is_link_local(), *address));
    let address =
        addresses.into_iter().find(|address| !address.is_unspecified() && !address.is_multicast())?;
    let verdict = match ours.contains(&said.ca) {
        false => Verdict::OtherAuthority,
        true if said.protocol != PROTOCOL => Verdict::OtherProtocol(said.protocol),
        true => Verdict::Trusted,
    };
    let address = match port {
        443 => format!("https://{address}"),
        port => format!("https://{address}:{port}"),
    };
    Some(Found { name: said.name.clone(), address, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ca: &str, protocol: u32) -> Announcement {
        Announcement { name: "Lab".into(), protocol, ca: ca.into() }
    }

    #[test]
    fn an_appliance_of_another_authority_or_version_is_told_apart() {
        let ours = ["aa".to_owned()];
        let verdict = |ca: &str, protocol| {
            found(&said(ca, protocol), vec![Ipv4Addr::new(10, 0, 0, 2)], 443, &ours).unwrap().verdict
        };
        assert_eq!(verdict("aa", PROTOCOL), Verdict::Trusted);
        assert_eq!(verdict("bb", PROTOCOL), Verdict::OtherAuthority);
        assert_eq!(verdict("aa", PROTOCOL + 1), Verdict::OtherProtocol(PROTOCOL + 1));
    }

    #[test]
    fn a_routable_address_is_taken_before_one_that_was_made_up() {
        let addresses = vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(169, 254, 1, 1)];
        let place = |addresses: Vec<Ipv4Addr>, port| {
            found(&said("a", 1), addresses, port, &[]).map(|found| found.address)
        };
        assert_eq!(place(addresses.clone(), 443).as_deref(), Some("https://10.0.0.2"));
        assert_eq!(place(addresses[1..].to_vec(), 8443).as_deref(), Some("https://169.254.1.1:8443"));
        assert_eq!(place(Vec::new(), 443), None);
        assert_eq!(place(vec![Ipv4Addr::new(224, 0, 0, 251)], 443), None);
    }

    #[test]
    fn what_can_be_used_stands_first_and_an_address_once() {
        let at = |name: &str, address: &str, verdict| Found {
            name: name.into(),
            address: address.into(),
            verdict,
        };
        let list = listed(vec![
            at("A", "https://10.0.0.9", Verdict::OtherAuthority),
            at("B", "https://10.0.0.2", Verdict::Trusted),
            at("B", "https://10.0.0.2", Verdict::Trusted),
        ]);
        let names: Vec<_> = list.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["B", "A"]);
    }
}
