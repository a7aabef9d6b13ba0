//! Changes of bindings on their way to the disk, and the answers that wait for them.
//!
//! The loop on port 67 never waits for the disk: it hands over the change with its answer and goes on. Here everything
//! that has come together is written in one transaction, and only then the Macs are told.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Context;
use super::clients::now_ms;
use super::dhcp::{Told, send};
use crate::netboot::bsdp::Change;
use crate::netboot::intake::Lane;

/// Changes that wait at most.
const QUEUE: usize = 1024;
/// Changes in one transaction at most.
const TOGETHER: usize = 256;
/// How often bindings that are too old are looked for.
const EXPIRY: Duration = Duration::from_secs(60);

/// A change, and who is told when it is on the disk.
pub(super) struct Pending {
    change: Change,
    told: Option<Box<Told>>,
}

/// Where changes go in.
pub(super) struct Queue(mpsc::Sender<Pending>);

/// A bounded queue and its end.
pub(super) fn queue() -> (Queue, mpsc::Receiver<Pending>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Queue(sender), receiver)
}

impl Queue {
    /// Hands a change over. Where there is no room the answer comes back: the Mac asks again. Sources that ask too often
    /// have half of the room, the other half is for everybody else.
    pub(super) fn push(
        &self,
        change: Change,
        lane: Lane,
        told: Option<Box<Told>>,
    ) -> Result<(), Option<Box<Told>>> {
        if lane == Lane::Surplus && self.0.capacity() * 2 < QUEUE {
            return Err(told);
        }
        self.0.try_send(Pending { change, told }).map_err(|full| full.into_inner().told)
    }
}

/// Writes until `stop` is cancelled, then what is still in the queue.
pub(super) async fn write(
    mut queue: mpsc::Receiver<Pending>,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(TOGETHER);
    let mut expiry = tokio::time::interval(EXPIRY);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let got = tokio::select! {
            got = queue.recv_many(&mut batch, TOGETHER) => got,
            _ = expiry.tick() => {
                if let Err(error) = context.bindings.expire(now_ms()).await {
                    warn!(%error, "bindings that are too old could not be forgotten: {error}");
                }
                continue;
            }
            () = stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if got == 0 {
            return Ok(());
        }
        commit(batch.drain(..), &context).await;
    }
}

async fn commit(batch: impl Iterator<Item = Pending>, context: &Context) {
    let (changes, told): (Vec<Change>, Vec<Option<Box<Told>>>) =
        batch.map(|Pending { change, told }| (change, told)).unzip();
    match context.bindings.commit(&changes).await {
        Ok(()) => {
            for told in told.into_iter().flatten() {
                send(*told, context).await;
            }
        }
        Err(error) => {
            if context.clients.may_complain(Ipv4Addr::UNSPECIFIED, "bindings").is_some() {
                warn!(%error, "bindings are not written, so Macs that choose an image are left unanswered: {error}");
            }
            for told in told.into_iter().flatten() {
                told.give_up(&format!("its choice could not be written to the database: {error}"), context);
            }
        }
    }
}
