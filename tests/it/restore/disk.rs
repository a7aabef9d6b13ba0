//! A disk in memory with a cache, that can die, lie and lose what was not flushed.

use std::io;
use std::sync::Mutex;

use rootstock::image::chunk::Span;
use rootstock::image::restore::Target;

pub struct Disk {
    state: Mutex<State>,
    die_at: usize,
    swallow: Option<u64>,
    corrupt: Option<u64>,
}

struct State {
    /// What reads see.
    view: Vec<u8>,
    /// What the medium holds.
    durable: Vec<u8>,
    /// Writes since the last flush.
    pending: Vec<(usize, Vec<u8>)>,
    operations: usize,
    writes: usize,
    swallows: u32,
}

impl Disk {
    pub fn new(content: Vec<u8>) -> Disk {
        let state = State {
            view: content.clone(),
            durable: content,
            pending: Vec::new(),
            operations: 0,
            writes: 0,
            swallows: 0,
        };
        Disk { state: Mutex::new(state), die_at: usize::MAX, swallow: None, corrupt: None }
    }

    /// Every operation from this number on fails.
    pub fn dying_at(mut self, operation: usize) -> Disk {
        self.die_at = operation;
        self
    }

    /// Claims to have written the byte at `place`, this many times.
    pub fn swallowing(mut self, place: u64, times: u32) -> Disk {
        self.swallow = Some(place);
        self.state.get_mut().unwrap().swallows = times;
        self
    }

    /// Changes the byte at `place` whenever it is written.
    pub fn corrupting(mut self, place: u64) -> Disk {
        self.corrupt = Some(place);
        self
    }

    /// The same disk after the power came back: of what was not flushed, the writes whose bit is set are there.
    pub fn after_power_cut(self, survives: u64) -> Disk {
        let state = self.state.into_inner().unwrap();
        let mut content = state.durable;
        for (number, (at, bytes)) in state.pending.into_iter().enumerate() {
            if survives >> (number % 64) & 1 == 1 {
                content[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Disk::new(content)
    }

    pub fn content(&self) -> Vec<u8> {
        self.state.lock().unwrap().view.clone()
    }

    pub fn operations(&self) -> usize {
        self.state.lock().unwrap().operations
    }

    /// Writes, zeroing counted.
    pub fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }

    pub fn flip(&self, place: u64) {
        let state = &mut *self.state.lock().unwrap();
        state.view[place as usize] ^= 1;
        state.durable[place as usize] ^= 1;
    }

    fn operation(&self, work: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.operations >= self.die_at {
            return Err(io::Error::other("the power is gone"));
        }
        state.operations += 1;
        work(&mut state);
        Ok(())
    }

    fn put(&self, offset: u64, mut bytes: Vec<u8>) -> io::Result<()> {
        let within = |place: u64| (offset..offset + bytes.len() as u64).contains(&place);
        let (swallow, corrupt) =
            (self.swallow.is_some_and(within), self.corrupt.filter(|place| within(*place)));
        if let Some(place) = corrupt {
            bytes[(place - offset) as usize] ^= 0x40;
        }
        self.operation(|state| {
            state.writes += 1;
            if swallow && state.swallows > 0 {
                state.swallows -= 1;
                return;
            }
            let at = offset as usize;
            state.view[at..at + bytes.len()].copy_from_slice(&bytes);
            state.pending.push((at, bytes));
        })
    }
}

impl Target for Disk {
    fn size(&self) -> u64 {
        self.state.lock().unwrap().view.len() as u64
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(offset, bytes.to_vec())
    }

    fn zero(&self, span: Span) -> io::Result<()> {
        self.put(span.offset, vec![0; span.length as usize])
    }

    fn release(&self, _: Span) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        self.operation(|state| {
            state.durable.clone_from(&state.view);
            state.pending.clear();
        })
    }

    fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        into.copy_from_slice(&state.view[offset as usize..][..into.len()]);
        Ok(())
    }
}
