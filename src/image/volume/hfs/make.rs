//! Small HFS+ volumes for tests, by the book (TN1150): trees of any depth, fragmented files, journal, wrapper.

use std::collections::BTreeMap;

/// How a file is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In its data fork.
    Plain,
    /// In `com.apple.decmpfs`, stored.
    Attribute,
    /// In its resource fork, stored.
    Resource,
}

/// What is to be made.
pub struct Make {
    pub signature: [u8; 2],
    pub block: u32,
    pub blocks: u32,
    pub node: usize,
    pub attributes: u32,
    /// First and last transaction byte.
    pub journal: Option<(u64, u64)>,
    /// Pieces of the allocation file.
    pub fragments: usize,
    /// Path, content.
    pub files: Vec<(&'static str, Vec<u8>, Kept)>,
    /// Path of the blessed folder.
    pub blessed: Option<&'static str>,
    /// Bytes behind the last whole block.
    pub tail: usize,
}

impl Default for Make {
    fn default() -> Make {
        Make {
            signature: *b"H+",
            block: 4096,
            blocks: 100,
            node: 512,
            attributes: 1 << 8,
            journal: None,
            fragments: 1,
            files: Vec::new(),
            blessed: None,
            tail: 0,
        }
    }
}

type Records = BTreeMap<(u32, String, u64), (Vec<u8>, Vec<u8>)>;

struct Disk {
    bytes: Vec<u8>,
    block: usize,
    used: Vec<bool>,
    next: usize,
}

impl Disk {
    fn take(&mut self, length: usize, pieces: usize) -> Vec<(u32, u32)> {
        let blocks = length.div_ceil(self.block);
        let each = blocks.div_ceil(pieces.max(1)).max(1);
        let (mut left, mut extents) = (blocks, Vec::new());
        while left > 0 {
            let count = left.min(each);
            extents.push((self.next as u32, count as u32));
            self.used[self.next..self.next + count].fill(true);
            self.next += count + usize::from(pieces > 1);
            left -= count;
        }
        extents
    }

    fn put(&mut self, bytes: &[u8], extents: &[(u32, u32)]) {
        let mut rest = bytes;
        for &(first, count) in extents {
            let (now, later) = rest.split_at(rest.len().min(count as usize * self.block));
            self.bytes[first as usize * self.block..][..now.len()].copy_from_slice(now);
            rest = later;
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn fork(size: usize, extents: &[(u32, u32)]) -> Vec<u8> {
    let mut fork = vec![0; 80];
    put(&mut fork, 0, &(size as u64).to_be_bytes());
    put(&mut fork, 12, &extents.iter().map(|(_, count)| count).sum::<u32>().to_be_bytes());
    put(&mut fork, 16, &group(&extents[..extents.len().min(8)]));
    fork
}

fn group(extents: &[(u32, u32)]) -> Vec<u8> {
    let mut group: Vec<u8> = extents
        .iter()
        .flat_map(|(first, count)| [first.to_be_bytes(), count.to_be_bytes()].concat())
        .collect();
    group.resize(64, 0);
    group
}

fn name(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let length = (units.len() as u16).to_be_bytes();
    length.into_iter().chain(units.into_iter().flat_map(u16::to_be_bytes)).collect()
}

fn keyed(key: &[u8]) -> Vec<u8> {
    [&(key.len() as u16).to_be_bytes()[..], key].concat()
}

/// A tree of records in order: header node, leaves, index nodes.
fn tree(records: &[(Vec<u8>, Vec<u8>)], node: usize, order: u8) -> Vec<u8> {
    let mut nodes: Vec<Vec<u8>> = vec![vec![0; node]];
    let mut level: Vec<(Vec<u8>, Vec<u8>)> = records.to_vec();
    let (mut height, mut root, mut leaves) = (0_u16, 0, Vec::new());
    while !level.is_empty() {
        height += 1;
        let mut above = Vec::new();
        let mut rest = level.as_slice();
        while !rest.is_empty() {
            let (mut bytes, mut at, mut count) = (vec![0; node], 14, 0);
            let first = rest[0].0.clone();
            while let Some((key, value)) = rest.first() {
                let record =
                    [key.as_slice(), if key.len() % 2 == 1 { &[0][..] } else { &[] }, value].concat();
                if at + record.len() + 2 * (count + 2) > node {
                    break;
                }
                put(&mut bytes, at, &record);
                put(&mut bytes, node - 2 * (count + 1), &(at as u16).to_be_bytes());
                (at, count, rest) = (at + record.len(), count + 1, &rest[1..]);
            }
            assert!(count > 0, "a record is longer than a node");
            put(&mut bytes, node - 2 * (count + 1), &(at as u16).to_be_bytes());
            bytes[8] = if height == 1 { 0xff } else { 0 };
            bytes[9] = height as u8;
            put(&mut bytes, 10, &(count as u16).to_be_bytes());
            let number = nodes.len() as u32;
            if height == 1 {
                leaves.push(number);
            }
            nodes.push(bytes);
            above.push((first, number.to_be_bytes().to_vec()));
            root = number;
        }
        if above.len() == 1 {
            break;
        }
        level = above;
    }
    for pair in leaves.windows(2) {
        put(&mut nodes[pair[0] as usize], 0, &pair[1].to_be_bytes());
    }
    let total = nodes.len() as u32;
    let header = &mut nodes[0];
    header[8] = 1;
    put(header, 10, &3_u16.to_be_bytes());
    put(header, 14, &height.to_be_bytes());
    put(header, 16, &root.to_be_bytes());
    put(header, 20, &(records.len() as u32).to_be_bytes());
    put(header, 24, &leaves.first().copied().unwrap_or(0).to_be_bytes());
    put(header, 28, &leaves.last().copied().unwrap_or(0).to_be_bytes());
    put(header, 32, &(node as u16).to_be_bytes());
    put(header, 34, &516_u16.to_be_bytes());
    put(header, 36, &total.to_be_bytes());
    header[51] = order;
    put(header, 52, &6_u32.to_be_bytes());
    for (number, at) in [14_u16, 120, 248, node as u16 - 8].into_iter().enumerate() {
        put(header, node - 2 * (number + 1), &at.to_be_bytes());
    }
    nodes.concat()
}

impl Make {
    /// The bytes of the volume.
    pub fn make(&self) -> Vec<u8> {
        let (block, blocks) = (self.block as usize, self.blocks as usize);
        let mut disk = Disk {
            bytes: vec![0; block * blocks + self.tail],
            block,
            used: vec![false; blocks],
            next: 1536_usize.div_ceil(block),
        };
        disk.used[..disk.next].fill(true);
        disk.used[blocks - 1024_usize.div_ceil(block)..].fill(true);
        let (catalog, attributes, folders) = self.records(&mut disk);
        let order = if self.signature == *b"HX" { 0xbc } else { 0 };
        let (_, journal) = (disk.next, self.journal.map(|range| self.journal(&mut disk, range)));
        let mut header = vec![0; 512];
        let mut special = |disk: &mut Disk, at: usize, bytes: &[u8], pieces: usize| {
            let extents = disk.take(bytes.len(), pieces);
            disk.put(bytes, &extents);
            put(&mut header, at, &fork(bytes.len(), &extents));
            extents
        };
        let map_length = blocks.div_ceil(8);
        let map = special(
            &mut disk,
            112,
            &vec![0; map_length.max(self.fragments * block - block + 1)],
            self.fragments,
        );
        special(&mut disk, 272, &tree(&catalog, self.node, order), 1);
        special(&mut disk, 352, &tree(&attributes, self.node, 0), 1);
        let mut reach = 0;
        let mut overflow = Vec::new();
        for extents in map.chunks(8) {
            if reach > 0 {
                let key = [&[0, 0][..], &6_u32.to_be_bytes(), &u32::to_be_bytes(reach)].concat();
                overflow.push((keyed(&key), group(extents)));
            }
            reach += extents.iter().map(|(_, count)| count).sum::<u32>();
        }
        special(&mut disk, 192, &tree(&overflow, 512, 0), 1);
        put(&mut header, 0, &self.signature);
        put(&mut header, 2, &[0, 4]);
        put(&mut header, 4, &self.attributes.to_be_bytes());
        put(&mut header, 8, b"10.0");
        put(&mut header, 12, &journal.unwrap_or(0).to_be_bytes());
        put(&mut header, 32, &(self.files.len() as u32).to_be_bytes());
        put(&mut header, 36, &(folders.len() as u32).to_be_bytes());
        put(&mut header, 40, &self.block.to_be_bytes());
        put(&mut header, 44, &self.blocks.to_be_bytes());
        let free = disk.used.iter().filter(|used| !**used).count() as u32;
        put(&mut header, 48, &free.to_be_bytes());
        if let Some(path) = self.blessed {
            put(&mut header, 80, &folders[path].to_be_bytes());
        }
        let mut bits = vec![0_u8; map_length];
        for (number, _) in disk.used.iter().enumerate().filter(|(_, used)| **used) {
            bits[number / 8] |= 0x80 >> (number % 8);
        }
        disk.put(&bits, &map);
        let end = disk.bytes.len();
        put(&mut disk.bytes, 1024, &header);
        put(&mut disk.bytes, end - 1024, &header);
        disk.bytes
    }

    /// The same in an HFS wrapper that begins `before` sectors in front of it.
    pub fn wrapped(&self, before: u16) -> Vec<u8> {
        let inner = self.make();
        let start = usize::from(before) * 512;
        let mut disk = vec![0; start + inner.len() + 1024];
        put(&mut disk, 1024, b"BD");
        put(&mut disk, 1024 + 20, &512_u32.to_be_bytes());
        put(&mut disk, 1024 + 28, &4_u16.to_be_bytes());
        put(&mut disk, 1024 + 124, b"H+");
        put(&mut disk, 1024 + 126, &(before - 4).to_be_bytes());
        put(&mut disk, 1024 + 128, &((inner.len() / 512) as u16).to_be_bytes());
        put(&mut disk, start, &inner);
        disk
    }

    /// Journal info block and header; gives the block of the former.
    fn journal(&self, disk: &mut Disk, (first, after): (u64, u64)) -> u32 {
        let info = disk.take(1, 1)[0].0;
        let place = disk.take(4096, 1)[0].0 as usize * disk.block;
        let mut bytes = vec![0; 52];
        put(&mut bytes, 0, &1_u32.to_be_bytes());
        put(&mut bytes, 36, &(place as u64).to_be_bytes());
        put(&mut bytes, 44, &4096_u64.to_be_bytes());
        disk.put(&bytes, &[(info, 1)]);
        let header = &mut disk.bytes[place..];
        put(header, 0, &0x4a4e_4c78_u32.to_le_bytes());
        put(header, 4, &0x1234_5678_u32.to_le_bytes());
        put(header, 8, &first.to_le_bytes());
        put(header, 16, &after.to_le_bytes());
        put(header, 24, &4096_u64.to_le_bytes());
        put(header, 32, &512_u32.to_le_bytes());
        put(header, 40, &512_u32.to_le_bytes());
        // The sum of the header with this field zero.
        let sum =
            header[..44].iter().fold(0_u32, |sum, byte| (sum << 8) ^ sum.wrapping_add(u32::from(*byte)));
        put(header, 36, &(!sum).to_le_bytes());
        info
    }

    /// Catalog and attributes in order, and the numbers of the folders.
    #[allow(clippy::type_complexity)]
    fn records(
        &self,
        disk: &mut Disk,
    ) -> (Vec<(Vec<u8>, Vec<u8>)>, Vec<(Vec<u8>, Vec<u8>)>, BTreeMap<String, u32>) {
        let mut catalog = Records::new();
        let mut attributes = Vec::new();
        let mut folders = BTreeMap::new();
        let mut next = 16;
        let mut add = |parent: u32, text: &str, id: u32, kind: u16, record: Vec<u8>| {
            let key = |parent: u32, text: &str| keyed(&[&parent.to_be_bytes()[..], &name(text)].concat());
            catalog.insert((parent, text.to_lowercase(), 0), (key(parent, text), record));
            let thread =
                [&(kind + 2).to_be_bytes()[..], &[0, 0], &parent.to_be_bytes(), &name(text)].concat();
            catalog.insert((id, String::new(), 0), (key(id, ""), thread));
        };
        let folder = |id: u32| {
            let mut record = vec![0; 88];
            put(&mut record, 0, &1_u16.to_be_bytes());
            put(&mut record, 8, &id.to_be_bytes());
            record
        };
        add(1, "Made: by hand", 2, 1, folder(2));
        for (path, content, kept) in &self.files {
            let mut parent = 2;
            let (above, own) = path.rsplit_once('/').unwrap_or(("", path));
            let mut so_far = String::new();
            for part in above.split('/').filter(|part| !part.is_empty()) {
                so_far = if so_far.is_empty() { part.to_owned() } else { format!("{so_far}/{part}") };
                let id = *folders.entry(so_far.clone()).or_insert_with(|| {
                    next += 1;
                    add(parent, part, next, 1, folder(next));
                    next
                });
                parent = id;
            }
            next += 1;
            let mut record = vec![0; 248];
            put(&mut record, 0, &2_u16.to_be_bytes());
            put(&mut record, 8, &next.to_be_bytes());
            let mut head =
                [b"fpmc", &9_u32.to_le_bytes()[..], &(content.len() as u64).to_le_bytes()].concat();
            if *kept == Kept::Resource {
                head[4] = 10;
            }
            let stored = if *kept == Kept::Attribute { [&head, &[0xcc][..], content].concat() } else { head };
            if *kept != Kept::Plain {
                let key = [&[0, 0][..], &next.to_be_bytes(), &[0; 4], &name("com.apple.decmpfs")].concat();
                let value =
                    [&16_u32.to_be_bytes()[..], &[0; 8], &(stored.len() as u32).to_be_bytes(), &stored]
                        .concat();
                attributes.push((keyed(&key), value));
            }
            let bytes = match kept {
                Kept::Plain => content.clone(),
                Kept::Attribute => Vec::new(),
                Kept::Resource => {
                    let table = [8_u32, 8 + content.len() as u32].map(u32::to_le_bytes).concat();
                    [table, content.clone()].concat()
                }
            };
            let extents = disk.take(bytes.len(), 1);
            disk.put(&bytes, &extents);
            put(&mut record, if *kept == Kept::Resource { 168 } else { 88 }, &fork(bytes.len(), &extents));
            add(parent, own, next, 2, record);
        }
        (catalog.into_values().collect(), attributes, folders)
    }
}
