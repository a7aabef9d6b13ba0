//! The name under the stick in the Option-key picker: a small picture of text, because firmware has no fonts.
//!
//! Owns: the picture and its file format. Must not know: where the file lies.
//!
//! | bytes of `.disk_label` | what |
//! |---|---|
//! | 1 | 1, the version |
//! | 2 + 2 | width and height in pixels, big-endian |
//! | width × height | an index into Apple's palette a pixel: 0 background, 255 ink |
//!
//! As written by `grub-render-label` and by `bless --label`. A second file has the picture in twice the size, for displays
//! with twice as many pixels.

/// Rows of a picture in its plain size: what firmware makes room for.
const HEIGHT: usize = 12;
/// Empty rows above the letters, empty columns beside them.
const ABOVE: usize = 2;
const BESIDE: usize = 2;

/// Letters of the one word, seven rows each.
const LETTERS: [[&str; 7]; 9] = [R, O, O, T, S, T, O, C, K];
const R: [&str; 7] = ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"];
const O: [&str; 7] = [".....", ".....", ".###.", "#...#", "#...#", "#...#", ".###."];
const T: [&str; 7] = [".#...", ".#...", "####.", ".#...", ".#...", ".#...", "..##."];
const S: [&str; 7] = [".....", ".....", ".####", "#....", ".###.", "....#", "####."];
const C: [&str; 7] = [".....", ".....", ".####", "#....", "#....", "#....", ".####"];
const K: [&str; 7] = ["#....", "#....", "#..#.", "#.#..", "##...", "#.#..", "#..#."];

/// The label "Rootstock", each pixel drawn `scale` times in both directions.
pub fn picture(scale: u16) -> Vec<u8> {
    let width = 2 * BESIDE + LETTERS.len() * 6 - 1;
    let factor = usize::from(scale);
    let mut file = vec![1];
    for length in [width, HEIGHT] {
        file.extend_from_slice(&((length * factor) as u16).to_be_bytes());
    }
    for y in 0..HEIGHT * factor {
        for x in 0..width * factor {
            file.push(if is_ink(x / factor, y / factor) { 255 } else { 0 });
        }
    }
    file
}

fn is_ink(x: usize, y: usize) -> bool {
    let Some((x, y)) = x.checked_sub(BESIDE).zip(y.checked_sub(ABOVE)) else { return false };
    LETTERS
        .get(x / 6)
        .and_then(|letter| letter.get(y))
        .is_some_and(|row| row.as_bytes().get(x % 6) == Some(&b'#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_gives_the_size_of_the_picture_that_follows() {
        for scale in [1, 2] {
            let file = picture(scale);
            let side = |at: usize| usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
            assert_eq!((file[0], side(3)), (1, 12 * usize::from(scale)));
            assert_eq!(file.len(), 5 + side(1) * side(3));
        }
    }

    #[test]
    fn the_picture_reads_rootstock() {
        let file = picture(1);
        let width = usize::from(file[2]);
        let row = |y: usize| -> String {
            let row = &file[5 + y * width..][..width];
            row.iter().map(|pixel| if *pixel == 255 { '#' } else { '.' }).collect()
        };
        assert_eq!(row(2), "..####...............#...........#................#......");
        assert_eq!(row(0), ".".repeat(width));
        assert_eq!(row(8).len(), width);
        assert!(row(9).chars().all(|pixel| pixel == '.') && row(8).contains('#'));
    }
}
