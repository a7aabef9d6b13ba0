//! A place as the target of a restore, and how busy network and disk are: what limits a restore is where its threads wait.
//!
//! Must not know: what is restored.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::place::Place;
use crate::device::{Device, DeviceError};
use crate::image::chunk::Span;
use crate::image::restore::{FetchError, Frames, Place as FramePlace, Target};

/// Part of a device or file, as if it were the whole.
pub struct Part {
    device: Device,
    offset: u64,
    size: u64,
}

impl Part {
    /// Opens a place for a restore.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open(place: &Place) -> Result<Part, DeviceError> {
        let device = Device::open(&place.path, 0)?;
        let size = place.size.min(device.size().saturating_sub(place.offset));
        Ok(Part { device, offset: place.offset, size })
    }

    /// Where `length` bytes at `offset` lie on the device. Bytes beyond the part belong to somebody else.
    fn inside(&self, offset: u64, length: u64) -> io::Result<Span> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(Span { offset: self.offset + offset, length }),
            _ => {
                let text = format!("{length} bytes at {offset} do not lie in a part of {} bytes", self.size);
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

impl Target for Part {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let span = self.inside(offset, bytes.len() as u64)?;
        self.device.write_at(span.offset, bytes)
    }

    fn zero(&self, span: Span) -> io::Result<()> {
        self.device.zero(self.inside(span.offset, span.length)?)
    }

    fn release(&self, span: Span) -> io::Result<bool> {
        self.device.release(self.inside(span.offset, span.length)?)
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }

    fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let span = self.inside(offset, into.len() as u64)?;
        self.device.read_back(span.offset, into)
    }
}

/// Time that threads spent in something, all threads added up.
#[derive(Debug, Default)]
pub struct Busy(AtomicU64);

impl Busy {
    fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = now();
        let done = work();
        let nanos = u64::try_from(now().duration_since(began).as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
        done
    }

    /// Since the beginning.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge: how long network and disk take is measured here")]
fn now() -> Instant {
    Instant::now()
}

/// Something whose time is measured.
pub struct Timed<'a, T> {
    /// What does the work.
    pub inner: &'a T,
    /// Where the time goes.
    pub busy: &'a Busy,
}

impl<F: Frames> Frames for Timed<'_, F> {
    fn fetch(&self, place: FramePlace, into: &mut [u8]) -> Result<(), FetchError> {
        self.busy.measure(|| self.inner.fetch(place, into))
    }
}

impl<T: Target> Target for Timed<'_, T> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.busy.measure(|| self.inner.write_at(offset, bytes))
    }

    fn zero(&self, span: Span) -> io::Result<()> {
        self.busy.measure(|| self.inner.zero(span))
    }

    fn release(&self, span: Span) -> io::Result<bool> {
        self.busy.measure(|| self.inner.release(span))
    }

    fn flush(&self) -> io::Result<()> {
        self.busy.measure(|| self.inner.flush())
    }

    fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.busy.measure(|| self.inner.read_back(offset, into))
    }
}

/// What limits, by the shares of the threads' time that went to network and disk; none when nothing stands out.
pub fn limit(workers: usize, time: Duration, network: Duration, disk: Duration) -> Option<&'static str> {
    let all = time.as_secs_f64() * workers as f64;
    if all <= 0.0 {
        return None;
    }
    let (network, disk) = (network.as_secs_f64() / all, disk.as_secs_f64() / all);
    match () {
        () if network > 0.6 => Some("the network limits"),
        () if disk > 0.6 => Some("the disk limits"),
        () if network + disk < 0.4 => Some("decoding limits"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_does_not_touch_its_neighbours() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 12]).unwrap();
        let part = Part::open(&Place { path: file.path().into(), offset: 4, size: 4 }).unwrap();
        assert_eq!(part.size(), 4);
        part.write_at(1, b"ab").unwrap();
        part.zero(Span { offset: 3, length: 1 }).unwrap();
        assert!(part.write_at(3, b"xy").is_err());
        assert!(part.zero(Span { offset: 0, length: 5 }).is_err());
        assert!(part.release(Span { offset: u64::MAX, length: 5 }).is_err());
        let mut back = [0; 4];
        part.read_back(0, &mut back).unwrap();
        assert_eq!(&back, b"\x07ab\0");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"\x07\x07\x07\x07\x07ab\0\x07\x07\x07\x07");
    }

    #[test]
    fn a_part_is_never_larger_than_its_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 10]).unwrap();
        let part = Part::open(&Place { path: file.path().into(), offset: 4, size: 100 }).unwrap();
        assert_eq!(part.size(), 6);
    }

    #[test]
    fn what_limits_is_where_the_threads_wait() {
        let limit = |network, disk| {
            limit(4, Duration::from_secs(2), Duration::from_secs(network), Duration::from_secs(disk))
        };
        assert_eq!(limit(7, 1), Some("the network limits"));
        assert_eq!(limit(1, 7), Some("the disk limits"));
        assert_eq!(limit(1, 1), Some("decoding limits"));
        assert_eq!(limit(4, 4), None);
    }
}
