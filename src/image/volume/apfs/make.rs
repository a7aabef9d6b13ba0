//! Small APFS containers for tests, by the Apple File System Reference: volumes with a few files, chunks, checkpoints.

use super::object::checksum;

pub const BLOCK: usize = 4096;
const MANAGER: u64 = 1024;
const FIRST_VOLUME: u64 = 1026;
const NOW: u64 = 7;

/// One volume.
#[derive(Clone, Default)]
pub struct MakeVolume {
    pub name: &'static str,
    pub role: u16,
    pub is_encrypted: bool,
    pub is_sealed: bool,
    pub snapshots: u64,
    /// Path and content; packed into an attribute where the path ends with `*`.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Records of a node of the tree; none: all in the root.
    pub split: Option<usize>,
}

/// What is to be made.
pub struct Make {
    pub blocks: u64,
    pub chunk: u64,
    /// Chunks in a chunk-info block.
    pub infos: usize,
    /// Whether the chunk-info blocks are listed in address blocks.
    pub address_blocks: bool,
    pub volumes: Vec<MakeVolume>,
    /// Blocks of file content that are marked, beyond what is there.
    pub marked: Vec<u64>,
    pub features: u64,
}

impl Default for Make {
    fn default() -> Make {
        Make {
            blocks: 300,
            chunk: 64,
            infos: 3,
            address_blocks: false,
            volumes: Vec::new(),
            marked: vec![250, 251, 290],
            features: 2,
        }
    }
}

struct Disk {
    bytes: Vec<u8>,
    used: Vec<bool>,
    next: u64,
}

impl Disk {
    fn take(&mut self) -> u64 {
        self.next += 1;
        self.used[self.next as usize - 1] = true;
        self.next - 1
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        self.bytes[address as usize * BLOCK..][..bytes.len()].copy_from_slice(bytes);
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &value.to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &(value as u32).to_le_bytes());
}

/// An object: its head, and its sum once it is filled by `fill`.
fn object(id: u64, kind: u32, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    put64(&mut bytes, 8, id);
    put64(&mut bytes, 16, NOW);
    put32(&mut bytes, 24, kind.into());
    fill(&mut bytes);
    let sum = checksum(&bytes);
    put64(&mut bytes, 0, sum);
    bytes
}

type Pair = (Vec<u8>, Vec<u8>);

/// Fills a node of a tree.
fn fill_node(bytes: &mut [u8], pairs: &[Pair], flags: u16, level: u16) {
    let fixed = flags & 4 != 0;
    let entry = if fixed { 4 } else { 8 };
    let table = 56 + entry * pairs.len();
    let (mut key_at, mut back) = (0, 0);
    let end = BLOCK - if flags & 1 != 0 { 40 } else { 0 };
    for (number, (key, value)) in pairs.iter().enumerate() {
        back += value.len();
        put(bytes, table + key_at, key);
        put(bytes, end - back, value);
        let place = 56 + entry * number;
        let words = match fixed {
            true => vec![key_at, back],
            false => vec![key_at, key.len(), back, value.len()],
        };
        let words: Vec<u8> = words.into_iter().flat_map(|word| (word as u16).to_le_bytes()).collect();
        put(bytes, place, &words);
        key_at += key.len();
    }
    assert!(table + key_at + back < end, "a node is too small");
    put(bytes, 32, &flags.to_le_bytes());
    put(bytes, 34, &level.to_le_bytes());
    put32(bytes, 36, pairs.len() as u64);
    put(bytes, 42, &((entry * pairs.len()) as u16).to_le_bytes());
}

fn map_pair(id: u64, address: u64) -> Pair {
    let key = [id.to_le_bytes(), NOW.to_le_bytes()].concat();
    let value = [&0_u32.to_le_bytes()[..], &(BLOCK as u32).to_le_bytes(), &address.to_le_bytes()].concat();
    (key, value)
}

/// An object map; gives its address.
fn object_map(disk: &mut Disk, pairs: &[Pair]) -> u64 {
    let (map, root) = (disk.take(), disk.take());
    disk.put(map, &object(map, 0x4000_000b, |bytes| put64(bytes, 48, root)));
    disk.put(root, &object(root, 0x4000_0002, |bytes| fill_node(bytes, pairs, 1 | 2 | 4, 0)));
    map
}

/// Key of a record of files.
fn key(id: u64, kind: u64, rest: &[u8]) -> Vec<u8> {
    [&(id | kind << 60).to_le_bytes()[..], rest].concat()
}

fn name_key(id: u64, name: &str) -> Vec<u8> {
    let hash = name.bytes().fold(9_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(byte)) << 10;
    key(id, 9, &[&(hash | (name.len() as u32 + 1)).to_le_bytes()[..], name.as_bytes(), &[0]].concat())
}

impl MakeVolume {
    /// The records of the files in order, and of extents where the volume is sealed.
    fn records(&self, disk: &mut Disk) -> (Vec<Pair>, Vec<Pair>) {
        let mut records: Vec<Pair> = Vec::new();
        let mut extents = Vec::new();
        let mut folders = std::collections::BTreeMap::from([(String::new(), 2_u64)]);
        let mut next = 16;
        let inode = |id: u64, size: Option<u64>| {
            let mut inode = vec![0; 92];
            put64(&mut inode, 8, id);
            let fields: &[u8] =
                if size.is_some() { &[2, 0, 0, 0, 4, 2, 5, 0, 8, 32, 40, 0] } else { &[0; 4] };
            inode.extend_from_slice(fields);
            if let Some(size) = size {
                inode.extend_from_slice(b"name\0\0\0\0");
                inode.extend_from_slice(&size.to_le_bytes());
                inode.extend_from_slice(&[0; 32]);
            }
            inode
        };
        let entry = |id: u64, kind: u16| [&id.to_le_bytes()[..], &[0; 8], &kind.to_le_bytes()].concat();
        records.push((key(2, 3, &[]), inode(2, None)));
        for (path, content) in &self.files {
            let packed = path.ends_with('*');
            let path = path.trim_end_matches('*');
            let (above, own) = path.rsplit_once('/').unwrap_or(("", path));
            let (mut parent, mut so_far) = (2, String::new());
            for part in above.split('/').filter(|part| !part.is_empty()) {
                so_far = format!("{so_far}/{part}");
                parent = match folders.get(&so_far) {
                    Some(id) => *id,
                    None => {
                        next += 1;
                        records.push((name_key(parent, part), entry(next, 4)));
                        records.push((key(next, 3, &[]), inode(next, None)));
                        folders.insert(so_far.clone(), next);
                        next
                    }
                };
            }
            next += 1;
            records.push((name_key(parent, own), entry(next, 8)));
            records.push((key(next, 3, &[]), inode(next, (!packed).then_some(content.len() as u64))));
            if packed {
                let head =
                    [b"fpmc", &1_u32.to_le_bytes()[..], &(content.len() as u64).to_le_bytes(), content]
                        .concat();
                let name = b"com.apple.decmpfs\0";
                let name = [&(name.len() as u16).to_le_bytes()[..], name].concat();
                let value = [&2_u16.to_le_bytes()[..], &(head.len() as u16).to_le_bytes(), &head].concat();
                records.push((key(next, 4, &name), value));
                continue;
            }
            for (number, piece) in content.chunks(BLOCK).enumerate() {
                let place = disk.take();
                disk.put(place, piece);
                let offset = (number * BLOCK) as u64;
                let value =
                    |tail: &[u8]| [&(BLOCK as u64).to_le_bytes()[..], &place.to_le_bytes(), tail].concat();
                if self.is_sealed {
                    extents.push(([next.to_le_bytes(), offset.to_le_bytes()].concat(), value(&[])));
                } else {
                    records.push((key(next, 8, &offset.to_le_bytes()), value(&[0; 8])));
                }
            }
        }
        let order = |key: &[u8]| {
            let both = u64::from_le_bytes(key[..8].try_into().unwrap());
            (both << 4 >> 4, both >> 60, key[8..].to_vec())
        };
        records.sort_by_key(|(key, _)| order(key));
        (records, extents)
    }

    /// Writes the volume; gives the address of its superblock.
    fn make(&self, disk: &mut Disk, id: u64) -> u64 {
        let (records, extents) = self.records(disk);
        let root_id = 3000;
        let mut pairs = Vec::new();
        let head = if self.is_sealed { 16 } else { 0 };
        let node = |id: u64, pairs: &[Pair], flags: u16, level: u16| match head {
            0 => {
                object(id, if flags & 1 != 0 { 2 } else { 3 }, |bytes| fill_node(bytes, pairs, flags, level))
            }
            _ => {
                let mut bytes = vec![0; BLOCK];
                fill_node(&mut bytes, pairs, flags, level);
                bytes
            }
        };
        let root = disk.take();
        match self.split {
            None => disk.put(root, &node(root_id, &records, head | 3, 0)),
            Some(count) => {
                let mut above = Vec::new();
                for (number, leaf) in records.chunks(count).enumerate() {
                    let (place, id) = (disk.take(), root_id + 1 + number as u64);
                    disk.put(place, &node(id, leaf, head | 2, 0));
                    let hash: &[u8] = if self.is_sealed { &[9; 32] } else { &[] };
                    above.push((leaf[0].0.clone(), [&id.to_le_bytes()[..], hash].concat()));
                    pairs.push(map_pair(id, place));
                }
                disk.put(root, &node(root_id, &above, head | 1 | if self.is_sealed { 8 } else { 0 }, 1));
            }
        }
        pairs.insert(0, map_pair(root_id, root));
        let map = object_map(disk, &pairs);
        let tree = disk.take();
        disk.put(tree, &object(tree, 0x4000_0002, |bytes| fill_node(bytes, &extents, 1 | 2 | 4, 0)));
        let superblock = disk.take();
        let bytes = object(id, 13, |bytes| {
            put(bytes, 32, b"APSB");
            put64(bytes, 56, 1 | if self.is_sealed { 32 } else { 0 });
            put64(bytes, 88, 20);
            put32(bytes, 116, 2);
            put64(bytes, 128, map);
            put64(bytes, 136, root_id);
            put64(bytes, 184, self.files.len() as u64);
            put64(bytes, 216, self.snapshots);
            put64(bytes, 264, u64::from(!self.is_encrypted));
            put(bytes, 704, self.name.as_bytes());
            put(bytes, 964, &self.role.to_le_bytes());
            put64(bytes, 1032, tree);
            put32(bytes, 1040, 0x4000_0002);
        });
        disk.put(superblock, &bytes);
        superblock
    }
}

impl Make {
    /// The bytes of the container. Blocks 1 to 8 are descriptors, 9 to 16 checkpoint data.
    pub fn make(&self) -> Vec<u8> {
        let blocks = self.blocks as usize;
        let mut disk = Disk { bytes: vec![0; blocks * BLOCK], used: vec![false; blocks], next: 17 };
        disk.used[..17].fill(true);
        let volumes: Vec<Pair> = self
            .volumes
            .iter()
            .enumerate()
            .map(|(number, volume)| {
                let id = FIRST_VOLUME + number as u64;
                map_pair(id, volume.make(&mut disk, id))
            })
            .collect();
        let map = object_map(&mut disk, &volumes);
        let chunks = self.blocks.div_ceil(self.chunk);
        let maps: Vec<u64> = (0..chunks).map(|_| disk.take()).collect();
        let infos: Vec<u64> = (0..chunks.div_ceil(self.infos as u64)).map(|_| disk.take()).collect();
        let lists: Vec<u64> = infos.chunks(2).map(|_| disk.take()).collect();
        for &block in &self.marked {
            disk.used[block as usize] = true;
        }
        let mut all_free = 0;
        let descriptions: Vec<[u64; 4]> = disk
            .used
            .chunks(self.chunk as usize)
            .zip(&maps)
            .enumerate()
            .map(|(number, (used, map))| {
                let free = used.iter().filter(|used| !**used).count();
                all_free += free as u64;
                let map = if free == used.len() { 0 } else { *map };
                [number as u64 * self.chunk, used.len() as u64, free as u64, map]
            })
            .collect();
        for (number, used) in disk.used.clone().chunks(self.chunk as usize).enumerate() {
            let mut bits = vec![0_u8; BLOCK];
            for (bit, _) in used.iter().enumerate().filter(|(_, used)| **used) {
                bits[bit / 8] |= 1 << (bit % 8);
            }
            disk.put(maps[number], &bits);
        }
        for (number, chunks) in descriptions.chunks(self.infos).enumerate() {
            let bytes = object(infos[number], 0x4000_0007, |bytes| {
                put32(bytes, 32, number as u64);
                put32(bytes, 36, chunks.len() as u64);
                for (entry, [first, count, free, map]) in chunks.iter().enumerate() {
                    let at = 40 + 32 * entry;
                    put64(bytes, at + 8, *first);
                    put32(bytes, at + 16, *count);
                    put32(bytes, at + 20, *free);
                    put64(bytes, at + 24, *map);
                }
            });
            disk.put(infos[number], &bytes);
        }
        for (number, group) in infos.chunks(2).enumerate() {
            let bytes = object(lists[number], 0x4000_0006, |bytes| {
                put32(bytes, 32, number as u64);
                put32(bytes, 36, group.len() as u64);
                group.iter().enumerate().for_each(|(k, address)| put64(bytes, 40 + 8 * k, *address));
            });
            disk.put(lists[number], &bytes);
        }
        let listed = if self.address_blocks { &lists } else { &infos };
        let manager = object(MANAGER, 0x8000_0005, |bytes| {
            put32(bytes, 32, BLOCK as u64);
            put32(bytes, 36, self.chunk);
            put64(bytes, 48, self.blocks);
            put64(bytes, 56, chunks);
            put32(bytes, 64, infos.len() as u64);
            put32(bytes, 68, if self.address_blocks { lists.len() as u64 } else { 0 });
            put64(bytes, 72, all_free);
            put32(bytes, 80, 400);
            listed.iter().enumerate().for_each(|(k, address)| put64(bytes, 400 + 8 * k, *address));
        });
        disk.put(9, &manager);
        let mapping = object(1, 0x4000_000c, |bytes| {
            put32(bytes, 32, 1);
            put32(bytes, 36, 1);
            put32(bytes, 40 + 8, BLOCK as u64);
            put64(bytes, 40 + 24, MANAGER);
            put64(bytes, 40 + 32, 9);
        });
        disk.put(3, &mapping);
        let superblock = |transaction: u64| {
            object(1, 0x8000_0001, |bytes| {
                put64(bytes, 16, transaction);
                put(bytes, 32, b"NXSB");
                put32(bytes, 36, BLOCK as u64);
                put64(bytes, 40, self.blocks);
                put64(bytes, 64, self.features);
                put32(bytes, 104, 8);
                put32(bytes, 108, 8);
                put64(bytes, 112, 1);
                put64(bytes, 120, 9);
                put32(bytes, 136, 2);
                put32(bytes, 140, 2);
                put64(bytes, 152, MANAGER);
                put64(bytes, 160, map);
                put32(bytes, 180, 100);
                (0..self.volumes.len()).for_each(|k| put64(bytes, 184 + 8 * k, FIRST_VOLUME + k as u64));
            })
        };
        disk.put(0, &superblock(NOW));
        // An older checkpoint, which must not be taken.
        disk.put(2, &superblock(NOW - 1));
        disk.put(4, &superblock(NOW));
        disk.bytes
    }
}
