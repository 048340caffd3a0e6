//! How much memory this process may have: what its limits and its control
//! groups say.
//!
//! ```text
//! /proc/self/cgroup        0::/system.slice/boardcast.service                  (version 2)
//!                          4:memory:/system.slice/boardcast.service            (version 1)
//! /sys/fs/cgroup/system.slice/boardcast.service/memory.max                     67108864, or max
//! /sys/fs/cgroup/memory/system.slice/boardcast.service/memory.limit_in_bytes   67108864
//! /proc/self/statm         1195 1241 542 300 0 529 0                           pages
//! ```
//!
//! Sources: cgroups(7), the kernel's `admin-guide/cgroup-v2.rst` (`memory.high`
//! slows down what `memory.max` would end) and `cgroup-v1/memory.rst`,
//! getrlimit(2), proc_pid_statm(5).

use std::{fs, path::Path};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is mapped and may be written, touched or not: stacks as a whole.
    Data,
    /// All that is mapped.
    Space,
    /// What is touched.
    Used,
    /// What is touched, and what the kernel keeps for it: sockets, threads.
    Charged,
}

/// A limit that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) kind: Kind,
    /// For this program alone.
    pub(super) bytes: u64,
    /// Who says so: `RLIMIT_DATA`.
    pub(super) by: String,
}

/// What the process takes, in bytes, as the limits count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) data: u64,
    pub(super) mapped: u64,
    pub(super) resident: u64,
}

/// All limits that there are; the control groups' are looked for below `root`.
pub(super) fn find(root: &Path) -> Vec<Room> {
    let of_process = [
        (Resource::RLIMIT_DATA, Kind::Data, "RLIMIT_DATA"),
        (Resource::RLIMIT_AS, Kind::Space, "RLIMIT_AS"),
    ];
    let mut rooms = Vec::new();
    for (resource, kind, by) in of_process {
        match getrlimit(resource) {
            Ok((bytes, _)) if bytes != RLIM_INFINITY => {
                // 32 bits wide on some boards.
                #[allow(clippy::useless_conversion)]
                let bytes = u64::from(bytes);
                rooms.push(Room { kind, bytes, by: by.into() });
            }
            _ => {}
        }
    }
    rooms.extend(of_groups(root));
    rooms
}

/// The least of what the control groups allow. A quarter of it is left to
/// others: the commands of sources, and the files that the kernel keeps.
fn of_groups(root: &Path) -> Option<Room> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let hierarchies = parse_groups(&groups).into_iter().flat_map(|(hierarchy, path)| {
        let (folders, files): (&[&str], &[&str]) = match hierarchy {
            Hierarchy::One => (&["sys/fs/cgroup/memory"], &["memory.limit_in_bytes"]),
            Hierarchy::Two => {
                (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], &["memory.max", "memory.high"])
            }
        };
        folders.iter().filter_map(move |folder| least(root, Path::new(folder), path, files))
    });
    let (bytes, by) = hierarchies.min()?;
    Some(Room { kind: Kind::Charged, bytes: bytes / 4 * 3, by })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hierarchy {
    One,
    Two,
}

/// The groups of a process that count memory: where they are in their hierarchy.
fn parse_groups(text: &str) -> Vec<(Hierarchy, &Path)> {
    let groups = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let hierarchy = match (number, controllers) {
            ("0", "") => Hierarchy::Two,
            _ if controllers.split(',').any(|name| name == "memory") => Hierarchy::One,
            _ => return None,
        };
        // Seen from within a namespace, others begin with `/..`.
        let path = Path::new(path.strip_prefix('/')?);
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        Some((hierarchy, if plain { path } else { Path::new("") }))
    });
    groups.collect()
}

/// The least limit in these files, from the group up to the mount: in a
/// container the group's own folder may not be seen.
fn least(root: &Path, mount: &Path, group: &Path, files: &[&str]) -> Option<(u64, String)> {
    let limits = group.ancestors().flat_map(|folder| {
        let folder = mount.join(folder);
        files.iter().filter_map(move |file| {
            let path = folder.join(file);
            let bytes = parse_limit(&fs::read_to_string(root.join(&path)).ok()?)?;
            Some((bytes, format!("/{}", path.display())))
        })
    });
    limits.min()
}

/// A number of bytes; `None` when there is no limit. Version 1 says a number
/// that is greater than any memory.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes: &u64| bytes < 1 << 60)
}

/// What this process takes now; nothing when the kernel does not say.
pub(super) fn taken() -> Taken {
    let page = crate::sys::page_size() as u64;
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    parse_taken(&text, page).unwrap_or_default()
}

fn parse_taken(text: &str, page: u64) -> Option<Taken> {
    let mut fields =
        text.split_ascii_whitespace().map(|field| Some(field.parse::<u64>().ok()? * page));
    let mut nth = |number| fields.nth(number).flatten();
    Some(Taken { mapped: nth(0)?, resident: nth(0)?, data: nth(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trees that were built from the kernel's documents.
    fn tree(name: &str) -> Option<(u64, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cgroups").join(name);
        of_groups(&root).map(|room| ((room.bytes / 3 * 4) >> 20, room.by))
    }

    #[test]
    fn the_least_limit_up_the_tree_counts() {
        let path = |path: &str| format!("/sys/fs/cgroup/{path}");
        let service = "system.slice/boardcast.service";
        assert_eq!(tree("v2-max"), Some((64, path(&format!("{service}/memory.max")))));
        assert_eq!(tree("v2-high"), Some((48, path("system.slice/memory.high"))));
        assert_eq!(tree("v1"), Some((32, path("memory/system.slice/memory.limit_in_bytes"))));
        assert_eq!(tree("container"), Some((128, path("memory.max"))));
        assert_eq!(tree("none"), None);
        assert_eq!(tree("no such tree"), None);
    }

    #[test]
    fn groups_are_found_in_every_form() {
        use Hierarchy::{One, Two};
        let path = Path::new;
        for (text, expected) in [
            ("0::/\n", vec![(Two, path(""))]),
            ("0::/a/b.service\n", vec![(Two, path("a/b.service"))]),
            (
                "9:name=systemd:/\n4:cpu,memory:/a:b\n0::/c\n",
                vec![(One, path("a:b")), (Two, path("c"))],
            ),
            ("0::/../../etc\n", vec![(Two, path(""))]),
            ("4:memory:relative\n::\nnonsense\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse_groups(text), expected, "{text:?}");
        }
        assert_eq!(parse_limit("67108864\n"), Some(64 << 20));
        for none in ["max\n", "9223372036854771712\n", "", "-1", "18446744073709551616"] {
            assert_eq!(parse_limit(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_is_taken_is_counted_in_pages() {
        let taken = parse_taken("1195 623 542 300 0 529 0\n", 4096).expect("whole");
        assert_eq!(taken, Taken { mapped: 1195 << 12, resident: 623 << 12, data: 529 << 12 });
        assert_eq!(parse_taken("1 2 3", 4096), None);
        assert!(self::taken().data > 0, "this kernel says so");
    }
}
