//! LOLWUT: a picture for people who try what happens.
//!
//! It draws the ring: around the clock, a letter for the node that is the first to keep what lies in that
//! direction.

use cluster::text::count;
use cluster::view::Routes;

use crate::info::REDIS_VERSION;

const WIDTH: usize = 41;
const HEIGHT: usize = 19;
/// Letters around the ring: enough that no gap shows.
const POINTS: usize = 64;

/// The picture.
pub fn text(routes: &Routes, version: &str) -> String {
    let mut rows = vec![vec![b' '; WIDTH]; HEIGHT];
    for point in 0..POINTS {
        let angle = std::f64::consts::TAU * point as f64 / POINTS as f64;
        let place = |middle: usize, offset: f64| (middle as f64 * (1.0 + offset)).round() as usize;
        let (x, y) = (place(WIDTH / 2, angle.sin()), place(HEIGHT / 2, -angle.cos()));
        rows[y][x] = letter(routes, point);
    }
    let middle = format!(
        "{}, {}",
        count(routes.view().members.len(), "node"),
        count(routes.view().copies, "copy")
    );
    if let Some(at) = WIDTH.checked_sub(middle.len()) {
        rows[HEIGHT / 2][at / 2..at / 2 + middle.len()].copy_from_slice(middle.as_bytes());
    }
    let mut text = String::new();
    for row in rows {
        text.push_str(String::from_utf8_lossy(&row).trim_end());
        text.push('\n');
    }
    for (place, member) in routes.view().members.iter().enumerate().take(LETTERS.len()) {
        text.push_str(&format!("{} {}\n", LETTERS[place] as char, member.id));
    }
    text.push_str(&format!("\nGT Store {version}, speaks as Redis ver. {REDIS_VERSION}\n"));
    text
}

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(routes: &Routes, point: usize) -> u8 {
    match routes.arcs() {
        0 => b'.',
        arcs => {
            let owner = routes.replicas(point * arcs / POINTS)[0];
            LETTERS[usize::from(owner) % LETTERS.len()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ids::ClusterId;
    use cluster::limits::Limits;
    use cluster::view::View;

    #[test]
    fn a_ring_of_nobody() {
        let unborn = Routes::new(View::unborn(ClusterId(1), 3, Limits::default()));
        let picture = text(&unborn, "1.2.3");
        assert!(picture.contains("0 nodes, 3 copies"));
        assert!(picture.ends_with("\nGT Store 1.2.3, speaks as Redis ver. 7.2.4\n"));
        assert!(picture.lines().all(|line| line.len() <= WIDTH + 10));
        assert_eq!(picture.lines().take(HEIGHT).filter(|line| line.contains('.')).count(), HEIGHT);
    }
}
