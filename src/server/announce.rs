//! Announces the appliance by DNS-SD over multicast DNS (RFC 6762, RFC 6763), so that a USB stick that names no appliance
//! finds it. Probing, another name when it is taken, answers, goodbye and new addresses are the library's work.
//!
//! Must not know: what is served on the port; what is in the TXT record (`api::dnssd`).

use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, Receiver, ServiceDaemon, ServiceInfo};
use tokio_util::sync::CancellationToken;

use super::ServerError;
use super::config::Config;
use crate::api::dnssd::{Announcement, SERVICE};
use crate::api::runner::PROTOCOL;

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often the machine's addresses are looked at.
const ADDRESSES_SECONDS: u32 = 3;
/// How often messages of the library are looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// Announcements under way.
pub struct Announcer {
    daemon: ServiceDaemon,
    events: Receiver<DaemonEvent>,
    instance: String,
}

impl Announcer {
    /// Begins to announce; nothing where the settings say so. A network without multicast is no reason not to serve: it is
    /// logged, and Macs that are told the address do not need it.
    pub fn start(config: &Config, ca: &str, https: u16) -> Option<Announcer> {
        if !config.announce.dns_sd {
            return None;
        }
        let said = Announcement { name: config.name.clone(), protocol: PROTOCOL, ca: ca.to_owned() };
        match announce(&said, https, &config.network.interfaces) {
            Ok(announcer) => {
                tracing::info!("announced as `{}` by DNS-SD ({SERVICE}, port {https})", said.instance());
                Some(announcer)
            }
            Err(error) => {
                tracing::warn!(
                    "not announced by DNS-SD: {error}; USB sticks need --server, or mend it and start again"
                );
                None
            }
        }
    }

    /// Announces until `stop` is cancelled, then says goodbye (RFC 6762 section 10.1).
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        while stop.run_until_cancelled(tokio::time::sleep(GLANCE)).await.is_some() {
            self.events.try_iter().for_each(|event| log(&event));
        }
        let goodbye = tokio::task::spawn_blocking(move || self.end());
        // Nobody is hurt by a goodbye that was not said: records run out.
        let _ = goodbye.await;
        Ok(())
    }

    fn end(self) {
        if let Ok(done) = self.daemon.unregister(&self.instance) {
            let _ = done.recv_timeout(GOODBYE);
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = done.recv_timeout(GOODBYE);
        }
    }
}

/// `interfaces`: those to announce on; empty: all. IPv4 only, as everything that boots a Mac.
fn announce(said: &Announcement, https: u16, interfaces: &[String]) -> mdns_sd::Result<Announcer> {
    let service = ServiceInfo::new(SERVICE, &said.instance(), &said.host(), "", https, &said.txt()[..])?
        .enable_addr_auto();
    let daemon = ServiceDaemon::new()?;
    // Later words win.
    if !interfaces.is_empty() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(interfaces.iter().cloned().map(IfKind::Name).collect::<Vec<_>>())?;
    }
    daemon.disable_interface(vec![IfKind::IPv6, IfKind::LoopbackV4])?;
    daemon.set_ip_check_interval(ADDRESSES_SECONDS)?;
    let events = daemon.monitor()?;
    let instance = service.get_fullname().to_owned();
    daemon.register(service)?;
    Ok(Announcer { daemon, events, instance })
}

fn log(event: &DaemonEvent) {
    match event {
        DaemonEvent::NameChange(change) => tracing::warn!(
            "`{}` is taken on {}: announced as `{}` there; give each appliance its own `name`",
            change.original,
            change.intf_name,
            change.new_name
        ),
        DaemonEvent::Error(error) => tracing::warn!("DNS-SD: {error}"),
        other => tracing::debug!("DNS-SD: {other:?}"),
    }
}
