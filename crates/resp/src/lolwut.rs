//! LOLWUT: a picture for the curious.
//!
//! It draws the ring as a circle, with a letter for the node that is the primary of the arcs in
//! each direction.

use crate::info::REDIS_VERSION;

const WIDTH: usize = 41;
const HEIGHT: usize = 19;
/// Letters around the ring: enough to leave no gap.
const POINTS: usize = 64;

/// The ring to draw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ring {
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// The number of copies of each key.
    pub copies: usize,
    /// The primary of each segment of the ring, as an index into `nodes`.
    pub owners: Vec<usize>,
}

impl Ring {
    /// The picture, with this version of GT Store.
    pub fn text(&self, version: &str) -> String {
        let mut rows = vec![vec![b' '; WIDTH]; HEIGHT];
        for point in 0..POINTS {
            let angle = std::f64::consts::TAU * point as f64 / POINTS as f64;
            let place =
                |middle: usize, offset: f64| (middle as f64 * (1.0 + offset)).round() as usize;
            let (x, y) = (place(WIDTH / 2, angle.sin()), place(HEIGHT / 2, -angle.cos()));
            rows[y][x] = self.letter(point);
        }
        let (nodes, copies) = (self.nodes.len(), self.copies);
        let node = if nodes == 1 { "node" } else { "nodes" };
        let copy = if copies == 1 { "copy" } else { "copies" };
        let middle = format!("{nodes} {node}, {copies} {copy}");
        if let Some(at) = WIDTH.checked_sub(middle.len()) {
            rows[HEIGHT / 2][at / 2..at / 2 + middle.len()].copy_from_slice(middle.as_bytes());
        }
        let mut text = String::new();
        for row in rows {
            text.push_str(String::from_utf8_lossy(&row).trim_end());
            text.push('\n');
        }
        for (letter, node) in LETTERS.iter().zip(&self.nodes) {
            text.push_str(&format!("{} {node}\n", *letter as char));
        }
        text.push_str(&format!("\nGT Store {version}, speaks as Redis ver. {REDIS_VERSION}\n"));
        text
    }

    fn letter(&self, point: usize) -> u8 {
        let owner = self.owners.get(point * self.owners.len() / POINTS);
        owner.map_or(b'.', |owner| LETTERS[owner % LETTERS.len()])
    }
}

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(picture: &str, letter: char) -> usize {
        picture.lines().take(HEIGHT).map(|line| line.matches(letter).count()).sum()
    }

    #[test]
    fn a_ring_without_nodes() {
        let picture = Ring { copies: 3, ..Ring::default() }.text("1.2.3");
        assert!(picture.contains("0 nodes, 3 copies"));
        assert!(picture.ends_with("\nGT Store 1.2.3, speaks as Redis ver. 7.2.4\n"));
        assert!(picture.lines().all(|line| line.len() <= WIDTH + 10));
        assert_eq!(picture.lines().take(HEIGHT).filter(|line| line.contains('.')).count(), HEIGHT);
    }

    #[test]
    fn each_node_gets_its_share_of_the_circle() {
        let nodes = vec!["one".to_owned(), "two".to_owned()];
        let picture = Ring { nodes, copies: 1, owners: vec![0, 1, 1, 1] }.text("1.2.3");
        assert!(picture.contains("2 nodes, 1 copy\n") || picture.contains("2 nodes, 1 copy "));
        assert!(picture.contains("\na one\nb two\n\n"), "{picture}");
        assert_eq!(drawn(&picture, '.'), 0);
        assert!(drawn(&picture, 'b') > 2 * drawn(&picture, 'a'), "{picture}");
    }
}
