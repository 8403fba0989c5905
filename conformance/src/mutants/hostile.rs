//! Plugins that do anything: they try cnitest itself, not its checks.
//!
//! A hostile plugin has the reference plugin executed and then spoils what it printed: one value becomes another one, the
//! text is cut, doubled or flooded, or the plugin turns on what is around it. What it does follows from its seed and from
//! what it is executed with, so that it can be repeated.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::{Map, Value, json};

use super::{Execution, FOLDER};
use crate::arena::PLUGIN_DIR;
use crate::suite::subject::{self, Found};

/// What the folders of hostile plugins are called, before the seed.
const PREFIX: &str = "hostile-";

/// What they do to what is around them. Nothing here reaches beyond the namespaces of an arena: cnitest may run as root.
const VANDALISM: &[&str] = &[
    "kill -9 $PPID",
    "kill -SEGV $PPID",
    "kill -STOP $PPID",
    "kill -9 1",
    "kill -9 -1",
    "sleep 100 & exit 0",
    "setsid sleep 100 </dev/null >/dev/null 2>&1 & exit 0",
    "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done",
    "head -c 2500000 /dev/zero",
    "yes '{\"cniVersion\":' | head -c 2500000",
    "yes >&2 | head -c 1500000 >&2",
    "rm -rf /run/* /tmp/* /var/lib/cni",
    "chmod 0 /run /tmp; rm -rf /etc/cni",
    "mkfifo /run/pipe /tmp/pipe; ln -s loop /run/loop",
    "mkdir -p /run/$(printf 'a%.0s' $(seq 200))/$(printf '\\377\\n\\t'); : >\"/run/$(printf 'x\\n+ file y\\033[31m')\"",
    "head -c 30000000 /dev/zero >/run/large",
    "mount -t tmpfs none /run; : >/run/hidden",
    "umount -l /run /proc /sys",
    "ip link set lo down; ip link add evil type veth peer name evil2; ip addr add 10.0.0.1/8 dev evil",
    "i=0; while [ $i -lt 30 ]; do ip link add v$i type veth peer name w$i; i=$((i+1)); done",
    "ip netns add evil; ip -n evil link set lo up",
    "hostname evil",
    "ulimit -n 3; unshare -n sh -c 'sleep 0.01'",
];

/// The hostile plugin of a seed, on top of a reference plugin.
pub fn plugin(seed: u64, base: &str) -> Found {
    let below = Path::new(FOLDER).join(format!("{PREFIX}{seed}")).join(base);
    Found {
        name: base.to_owned(),
        program: Path::new(PLUGIN_DIR).join(below),
        host_path: std::env::current_exe().unwrap_or_default(),
        folder: None,
        runtime: None,
    }
}

/// The seed and the reference plugin, when this process was called as a hostile plugin.
pub fn called_as() -> Option<(u64, &'static str)> {
    let called = std::env::args_os().next()?;
    let folder = Path::new(&called).parent()?;
    if folder.parent()?.file_name()? != FOLDER {
        return None;
    }
    let seed = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
    Some((seed, subject::called_as()?))
}

/// Behaves as the hostile plugin.
pub fn main(seed: u64, base: &'static str) -> ExitCode {
    let mut execution = Execution::of_process(base);
    let mut hasher = DefaultHasher::new();
    (seed, execution.input(), std::env::vars_os().collect::<Vec<_>>()).hash(&mut hasher);
    let mut random = Random(hasher.finish());
    if random.below(8) != 0 {
        execution.run();
    }
    match random.below(48) {
        0..=33 => {
            if let Ok(mut document) = serde_json::from_slice(&execution.stdout) {
                for _ in 0..=random.below(3) {
                    spoil(&mut document, &mut random);
                }
                execution.stdout = document.to_string().into_bytes();
            }
        }
        34..=43 => execution.stdout = garble(&execution.stdout, &mut random),
        44..=45 => execution.status = u8::try_from(random.below(256)).unwrap_or_default(),
        _ => {
            let command = random.pick(VANDALISM);
            // What the plugin cannot do it leaves.
            let _ = Command::new("/bin/sh").args(["-c", command]).status();
        }
    }
    execution.finish()
}

/// Numbers that look random and follow from the first (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One less than the limit, or 0 where the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % limit).unwrap_or_default()
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Where a walk through a document goes.
enum Step {
    Into(String),
    At(usize),
    Replace,
    Done,
}

/// Replaces, removes or adds one value somewhere in a document.
pub fn spoil(document: &mut Value, random: &mut Random) {
    let mut place = document;
    loop {
        match step(place, random) {
            Step::Into(key) => place = &mut place[key],
            Step::At(index) => place = &mut place[index],
            Step::Replace => {
                *place = odd(random);
                return;
            }
            Step::Done => return,
        }
    }
}

fn step(place: &mut Value, random: &mut Random) -> Step {
    // Not every walk goes to a leaf.
    if random.below(5) == 0 {
        return Step::Replace;
    }
    match place {
        Value::Object(map) if !map.is_empty() => {
            let index = random.below(map.len());
            let Some(key) = map.keys().nth(index).cloned() else { return Step::Done };
            match random.below(12) {
                0 => drop(map.shift_remove(&key)),
                1 => {
                    let value = map.shift_remove(&key).unwrap_or_default();
                    map.insert(key.to_uppercase(), value);
                }
                2 => drop(map.insert("x\u{0}\u{1b}[2J\u{202e}".to_owned(), odd(random))),
                _ => return Step::Into(key),
            }
            Step::Done
        }
        Value::Array(items) if !items.is_empty() => {
            let index = random.below(items.len());
            match random.below(10) {
                0 => drop(items.remove(index)),
                1 => {
                    let copy = items[index].clone();
                    items.extend(std::iter::repeat_n(copy, 50));
                }
                _ => return Step::At(index),
            }
            Step::Done
        }
        _ => Step::Replace,
    }
}

/// A value that fits nowhere.
fn odd(random: &mut Random) -> Value {
    let number = [0, 1, u64::MAX, 1 << 53, 1 << 32, 1 << 31, 4_294_967_295, 65_536];
    let texts = [
        "",
        " ",
        "0",
        "true",
        "null",
        "::",
        "0.0.0.0/0",
        "::/0",
        "10.0.0.1/33",
        "10.0.0.256/24",
        "fe80::1%eth0/64",
        "1.1.0",
        "1.1",
        "99999999999999999999.0.0",
        "-1.0.0",
        "eth0",
        "../../etc/passwd",
        "/dev/zero",
        "lo",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "\u{0}",
        "\u{1b}]0;x\u{7}",
        "ff:ff:ff:ff:ff:ff",
        "0:0:0",
        "\u{202e}\u{feff}é",
        "%s%n",
        "'; rm -rf /; '",
        "\r\n\r\n",
        "CNITEST_STDIN",
    ];
    match random.below(12) {
        0 => Value::Null,
        1 => json!(random.number().is_multiple_of(2)),
        2 => json!(*random.pick(&number)),
        3 => json!(*random.pick(&[-1_i64, i64::MIN, -129])),
        4 => json!(*random.pick(&[0.5, -0.0, 1e308, 5e-324, 1e15])),
        5 => json!([]),
        6 => json!({}),
        7 => json!([null, [null], {}, "", 0]),
        8 => json!("a".repeat(random.below(70_000))),
        9 => (0..random.below(100)).fold(json!(1), |inner, _| json!([inner])),
        10 => (0..random.below(100))
            .fold(json!({}), |inner, _| Value::Object(Map::from_iter([("a".to_owned(), inner)]))),
        _ => json!(random.pick(&texts)),
    }
}

/// Spoils a text as a text.
pub fn garble(text: &[u8], random: &mut Random) -> Vec<u8> {
    let mut text = text.to_vec();
    let place = random.below(text.len());
    match random.below(12) {
        0 => text.truncate(place),
        1 => text.extend(text.clone()),
        2 => text = b"[".repeat(random.below(200_000)),
        3 => text = b"{\"a\":".repeat(random.below(100_000)),
        4 => text.splice(place..place, [0xff, 0xfe, 0x00]).for_each(drop),
        5 => text.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        6 => text = (0..random.below(4000)).map(|_| random.number().to_le_bytes()[0]).collect(),
        7 => text = b"123456789".repeat(random.below(10_000)),
        8 => text = b"1e999999999999".to_vec(),
        9 => {
            text =
                String::from_utf8_lossy(&text).replacen(':', ":18446744073709551616e9,\"x\":", 1).into_bytes()
        }
        10 => {
            text = String::from_utf8_lossy(&text)
                .replacen('{', "{\"cniVersion\":\"1.1.0\",\"code\":7,", 1)
                .into_bytes()
        }
        _ => {
            for _ in 0..=random.below(8) {
                let place = random.below(text.len());
                if let Some(byte) = text.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoiled_follows_from_the_seed_and_is_another_document() {
        let document = json!({ "cniVersion": "1.1.0", "ips": [{ "address": "10.0.0.2/24" }], "dns": {} });
        let spoiled = |seed| {
            let mut copy = document.clone();
            spoil(&mut copy, &mut Random(seed));
            copy
        };
        assert_eq!(spoiled(7), spoiled(7));
        let changed = (0..200).filter(|seed| spoiled(*seed) != document).count();
        assert!(changed > 180, "{changed} of 200 differ");
    }

    #[test]
    fn any_text_can_be_garbled() {
        for seed in 0..200 {
            garble(b"", &mut Random(seed));
            assert_eq!(garble(b"{}", &mut Random(seed)), garble(b"{}", &mut Random(seed)));
        }
    }
}
