//! Work on several threads whose results are taken in order on the caller's. What is under way is bounded.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Most threads that help.
const MOST_WORKERS: usize = 64;

/// Hands each job that `next` gives to a worker, and each result, in the order of the jobs, to `take`. A worker has a state of
/// its own, made by `state`.
pub(super) fn in_order<S, J: Send, R: Send, E>(
    workers: usize,
    next: &mut dyn FnMut() -> Result<Option<J>, E>,
    state: &(dyn Fn() -> S + Sync),
    work: &(dyn Fn(&mut S, J) -> R + Sync),
    take: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let workers = workers.clamp(1, MOST_WORKERS);
    let most = 2 * workers + 2;
    let (give, jobs) = sync_channel::<(J, SyncSender<R>)>(most);
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut state = state();
                while let Some((job, done)) = one(&jobs) {
                    // A caller that has had enough does not want to know.
                    drop(done.send(work(&mut state, job)));
                }
            });
        }
        // Dropped at the end, whatever the end is: the workers go home.
        let give = give;
        let mut under_way: VecDeque<Receiver<R>> = VecDeque::with_capacity(most);
        while let Some(job) = next()? {
            if under_way.len() == most {
                settle(&mut under_way, take)?;
            }
            let (done, result) = sync_channel(1);
            drop(give.send((job, done)));
            under_way.push_back(result);
        }
        while !under_way.is_empty() {
            settle(&mut under_way, take)?;
        }
        Ok(())
    })
}

fn one<J, R>(jobs: &Mutex<Receiver<(J, SyncSender<R>)>>) -> Option<(J, SyncSender<R>)> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Takes the oldest result. A worker that panicked has none; the scope raises its panic again.
fn settle<R, E>(
    under_way: &mut VecDeque<Receiver<R>>,
    take: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    match under_way.pop_front().and_then(|result| result.recv().ok()) {
        Some(result) => take(result),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_an_error_ends_it() {
        for workers in [1, 3, 200] {
            let mut jobs = 0..1000_u64;
            let mut taken = Vec::new();
            let end: Result<(), &str> = in_order(
                workers,
                &mut || Ok(jobs.next()),
                &|| 7,
                &|seven, job| job * *seven,
                &mut |result| {
                    taken.push(result);
                    if result == 7 * 500 { Err("enough") } else { Ok(()) }
                },
            );
            assert_eq!(end, Err("enough"));
            assert_eq!(taken, (0..=500).map(|job| job * 7).collect::<Vec<_>>());
        }
    }
}
