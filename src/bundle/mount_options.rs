//! The table of mount options: what each word of `mounts[].options` means as flags. Read by
//! `mounts.rs` for every mount and by `features` for the names.

use super::plan::{MountAttributes, SymlinkSource};
use crate::sort::sort;
use linux_raw_sys::general as raw;

/// What all options of one mount say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind`; true is with what is mounted below.
    pub bind: Option<bool>,
    /// `remount`
    pub remount: bool,
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// Flags of the superblock, as mount(2) has them.
    pub super_flags: u64,
    /// Names of the options behind `super_flags` other than `ro`, for messages.
    pub super_names: Vec<&'static str>,
    /// Propagation changes in order, as mount(2) flags.
    pub propagation: Vec<u64>,
    /// `idmap` or `ridmap`; true is with what is mounted below.
    pub id_map: Option<bool>,
    /// `tmpcopyup`
    pub copy_up: bool,
    /// `copy-symlink` or `src-nofollow`
    pub symlink: Option<SymlinkSource>,
    /// `dest-nofollow`
    pub destination_nofollow: bool,
    /// Everything else, for the filesystem.
    pub data: Vec<(String, Option<String>)>,
}

/// What one option does.
#[derive(Clone, Copy)]
enum Meaning {
    Nothing,
    Bind { recursive: bool },
    Remount,
    Set(u32),
    Clear(u32),
    Atime(u32),
    NoAtime(u32),
    Super(u64),
    NotSuper(u64),
    Propagation(u64),
    IdMap { recursive: bool },
    CopyUp,
    Symlink(SymlinkSource),
    DestinationNoFollow,
}
use Meaning::{
    Atime, Bind, Clear, CopyUp, DestinationNoFollow, IdMap, NoAtime, NotSuper, Nothing, Propagation, Remount,
    Set, Super, Symlink,
};

/// Options that the specification says MUST, SHOULD or MAY be known (config.md, Linux mount
/// options), and four for symbolic links and copies. `Set` to `NoAtime` have a recursive form
/// with the letter `r` before the name.
const TABLE: &[(&str, Meaning)] = &[
    ("async", NotSuper(libc::MS_SYNCHRONOUS)),
    ("atime", NoAtime(raw::MOUNT_ATTR_NOATIME)),
    ("bind", Bind { recursive: false }),
    ("copy-symlink", Symlink(SymlinkSource::Copy)),
    ("defaults", Nothing),
    ("dest-nofollow", DestinationNoFollow),
    ("dev", Clear(raw::MOUNT_ATTR_NODEV)),
    ("diratime", Clear(raw::MOUNT_ATTR_NODIRATIME)),
    ("dirsync", Super(libc::MS_DIRSYNC)),
    ("exec", Clear(raw::MOUNT_ATTR_NOEXEC)),
    ("idmap", IdMap { recursive: false }),
    ("iversion", Super(libc::MS_I_VERSION)),
    ("lazytime", Super(MS_LAZYTIME)),
    ("loud", NotSuper(libc::MS_SILENT)),
    ("mand", Super(libc::MS_MANDLOCK)),
    ("noatime", Atime(raw::MOUNT_ATTR_NOATIME)),
    ("nodev", Set(raw::MOUNT_ATTR_NODEV)),
    ("nodiratime", Set(raw::MOUNT_ATTR_NODIRATIME)),
    ("noexec", Set(raw::MOUNT_ATTR_NOEXEC)),
    ("noiversion", NotSuper(libc::MS_I_VERSION)),
    ("nolazytime", NotSuper(MS_LAZYTIME)),
    ("nomand", NotSuper(libc::MS_MANDLOCK)),
    ("norelatime", NoAtime(raw::MOUNT_ATTR_RELATIME)),
    ("nostrictatime", NoAtime(raw::MOUNT_ATTR_STRICTATIME)),
    ("nosuid", Set(raw::MOUNT_ATTR_NOSUID)),
    ("nosymfollow", Set(raw::MOUNT_ATTR_NOSYMFOLLOW)),
    ("private", Propagation(libc::MS_PRIVATE)),
    ("rbind", Bind { recursive: true }),
    ("relatime", Atime(raw::MOUNT_ATTR_RELATIME)),
    ("remount", Remount),
    ("ridmap", IdMap { recursive: true }),
    ("ro", Set(raw::MOUNT_ATTR_RDONLY)),
    ("rprivate", Propagation(libc::MS_PRIVATE | libc::MS_REC)),
    ("rshared", Propagation(libc::MS_SHARED | libc::MS_REC)),
    ("rslave", Propagation(libc::MS_SLAVE | libc::MS_REC)),
    ("runbindable", Propagation(libc::MS_UNBINDABLE | libc::MS_REC)),
    ("rw", Clear(raw::MOUNT_ATTR_RDONLY)),
    ("shared", Propagation(libc::MS_SHARED)),
    ("silent", Super(libc::MS_SILENT)),
    ("slave", Propagation(libc::MS_SLAVE)),
    ("src-nofollow", Symlink(SymlinkSource::NoFollow)),
    ("strictatime", Atime(raw::MOUNT_ATTR_STRICTATIME)),
    ("suid", Clear(raw::MOUNT_ATTR_NOSUID)),
    ("symfollow", Clear(raw::MOUNT_ATTR_NOSYMFOLLOW)),
    ("sync", Super(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagation(libc::MS_UNBINDABLE)),
];

/// `MS_LAZYTIME` of linux/mount.h, which libc lacks.
pub const MS_LAZYTIME: u64 = 1 << 25;

/// The options by name, without the recursive forms.
pub fn plain_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// All options known here by name, sorted; every other word is for the filesystem.
pub fn option_names() -> Vec<String> {
    let plain = TABLE.iter().map(|(name, _)| name.to_string());
    let recursive = TABLE.iter().filter(|(_, m)| has_recursive_form(*m)).map(|(name, _)| format!("r{name}"));
    let mut names: Vec<String> = plain.chain(recursive).collect();
    sort(&mut names);
    names
}

fn has_recursive_form(meaning: Meaning) -> bool {
    matches!(meaning, Set(_) | Clear(_) | Atime(_) | NoAtime(_))
}

fn find(name: &str) -> Option<(&'static str, Meaning)> {
    let i = TABLE.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
    TABLE.get(i).copied()
}

impl MountOptions {
    /// Reads the options of one mount in order; of two that contradict, the later wins.
    pub fn new(options: &[String]) -> MountOptions {
        let mut all = MountOptions::default();
        for option in options {
            all.add(option);
        }
        all
    }

    fn add(&mut self, option: &str) {
        if let Some((name, meaning)) = find(option) {
            self.apply(name, meaning);
        } else if let Some((_, meaning)) = option.strip_prefix('r').and_then(find)
            && has_recursive_form(meaning)
        {
            let attributes = &mut self.attributes;
            change(&mut attributes.recursive_set, &mut attributes.recursive_clear, meaning);
        } else {
            self.add_data(option);
        }
    }

    fn apply(&mut self, name: &'static str, meaning: Meaning) {
        match meaning {
            Nothing => {}
            Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Remount => self.remount = true,
            Set(_) | Clear(_) | Atime(_) | NoAtime(_) => {
                change(&mut self.attributes.set, &mut self.attributes.clear, meaning);
                self.follow_read_only(meaning);
            }
            Super(flag) => {
                self.super_flags |= flag;
                self.super_names.push(name);
            }
            NotSuper(flag) => {
                self.super_flags &= !flag;
                self.super_names.push(name);
            }
            Propagation(flags) => self.propagation.push(flags),
            IdMap { recursive } => self.id_map = Some(recursive || self.id_map == Some(true)),
            CopyUp => self.copy_up = true,
            Symlink(how) => self.symlink = Some(how),
            DestinationNoFollow => self.destination_nofollow = true,
        }
    }

    /// `ro` and `rw` are flags of the superblock too.
    fn follow_read_only(&mut self, meaning: Meaning) {
        match meaning {
            Set(raw::MOUNT_ATTR_RDONLY) => self.super_flags |= libc::MS_RDONLY,
            Clear(raw::MOUNT_ATTR_RDONLY) => self.super_flags &= !libc::MS_RDONLY,
            _ => {}
        }
    }

    /// Words for the filesystem: as the kernel does, cut at commas that are neither escaped nor
    /// quoted.
    fn add_data(&mut self, option: &str) {
        let (mut escaped, mut quoted) = (false, false);
        let words = option.split(|c| {
            let cut = c == ',' && !escaped && !quoted;
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            cut
        });
        for word in words.filter(|word| !word.is_empty()) {
            self.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_string(), Some(value.to_string())),
                None => (word.to_string(), None),
            });
        }
    }
}

/// Changes attribute bits. Access times are a number and not bits: mount_setattr(2) wants the
/// whole field in `clear` whenever one is named.
fn change(set: &mut u64, clear: &mut u64, meaning: Meaning) {
    const ATIME: u64 = raw::MOUNT_ATTR__ATIME as u64;
    match meaning {
        Set(bit) => {
            *set |= u64::from(bit);
            *clear &= !u64::from(bit);
        }
        Clear(bit) => {
            *clear |= u64::from(bit);
            *set &= !u64::from(bit);
        }
        Atime(value) => {
            *set = *set & !ATIME | u64::from(value);
            *clear |= ATIME;
        }
        NoAtime(value) => {
            if *set & ATIME == u64::from(value) {
                *set &= !ATIME;
            }
            *clear |= ATIME;
        }
        _ => {}
    }
}

/// Options in any order: what is set is not cleared too, and nothing is lost.
#[cfg(fuzzing)]
pub fn fuzz(options: &[String]) {
    const ATIME: u64 = raw::MOUNT_ATTR__ATIME as u64;
    let all = MountOptions::new(options);
    let attributes = &all.attributes;
    assert_eq!(attributes.set & attributes.clear & !ATIME, 0, "{all:?}");
    assert_eq!(attributes.recursive_set & attributes.recursive_clear & !ATIME, 0, "{all:?}");
    for data in &all.data {
        assert!(!data.0.is_empty() || data.1.is_some(), "{all:?}");
    }
    let again = MountOptions::new(options);
    assert_eq!(format!("{all:?}"), format!("{again:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// config.md of the specification: MUST, SHOULD (rnodev is in features.md only) and MAY.
    const SPECIFIED: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime \
        nodev nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime \
        remount ro rprivate rshared rslave runbindable rw shared silent slave strictatime suid sync unbindable \
        nosymfollow symfollow idmap ridmap ratime rdev rdiratime rexec rnoatime rnodiratime rnoexec rnorelatime \
        rnostrictatime rnosuid rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow rnodev mand nomand \
        tmpcopyup copy-symlink src-nofollow dest-nofollow";

    fn options(text: &str) -> MountOptions {
        MountOptions::new(&text.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn knows_exactly_the_specified_options() {
        let mut expected: Vec<_> = SPECIFIED.split_whitespace().collect();
        expected.sort_unstable();
        assert_eq!(option_names(), expected);
        for name in option_names() {
            assert!(options(&name).data.is_empty(), "{name}");
        }
        assert!(TABLE.is_sorted_by_key(|(name, _)| name));
    }

    #[test]
    fn attributes_set_and_clear() {
        for (text, set, clear) in [
            ("ro", 1, 0),
            ("rw", 0, 1),
            ("nosuid", 2, 0),
            ("suid", 0, 2),
            ("nodev", 4, 0),
            ("dev", 0, 4),
            ("noexec", 8, 0),
            ("exec", 0, 8),
            ("nodiratime", 0x80, 0),
            ("diratime", 0, 0x80),
            ("nosymfollow", 0x20_0000, 0),
            ("symfollow", 0, 0x20_0000),
            ("relatime", 0, 0x70),
            ("noatime", 0x10, 0x70),
            ("strictatime", 0x20, 0x70),
            ("atime", 0, 0x70),
            ("norelatime", 0, 0x70),
            ("nostrictatime", 0, 0x70),
            ("noatime norelatime", 0x10, 0x70),
            ("noatime atime", 0, 0x70),
            ("strictatime atime", 0x20, 0x70),
            ("noatime strictatime", 0x20, 0x70),
            ("ro rw", 0, 1),
            ("rw ro nosuid", 3, 0),
            ("defaults", 0, 0),
        ] {
            let plain = options(text).attributes;
            assert_eq!(plain, MountAttributes { set, clear, ..Default::default() }, "{text}");
            let recursive = text.split(' ').filter(|t| *t != "defaults").map(|t| format!("r{t}"));
            let recursive = options(&recursive.collect::<Vec<_>>().join(" ")).attributes;
            let expected =
                MountAttributes { recursive_set: set, recursive_clear: clear, ..Default::default() };
            assert_eq!(recursive, expected, "r{text}");
        }
    }

    #[test]
    fn flags_of_the_superblock() {
        for (text, flags) in [
            ("ro", 1),
            ("ro rw", 0),
            ("sync", 16),
            ("sync async", 0),
            ("mand", 64),
            ("mand nomand", 0),
            ("dirsync", 128),
            ("silent", 32768),
            ("silent loud", 0),
            ("iversion", 1 << 23),
            ("iversion noiversion", 0),
            ("lazytime", 1 << 25),
            ("lazytime nolazytime", 0),
            ("rro", 0),
        ] {
            assert_eq!(options(text).super_flags, flags, "{text}");
        }
    }

    #[test]
    fn propagation_keeps_its_order() {
        assert_eq!(options("rslave shared").propagation, [1 << 19 | 1 << 14, 1 << 20]);
        assert_eq!(options("runbindable private").propagation, [1 << 17 | 1 << 14, 1 << 18]);
    }

    #[test]
    fn other_words_are_for_the_filesystem() {
        let data = |text| {
            options(text).data.into_iter().map(|(k, v)| (k, v.unwrap_or("-".into()))).collect::<Vec<_>>()
        };
        let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
        assert_eq!(data("mode=755 newinstance"), [pair("mode", "755"), pair("newinstance", "-")]);
        assert_eq!(data("size=1k,mode=700"), [pair("size", "1k"), pair("mode", "700")]);
        assert_eq!(data(r"lowerdir=/a\,b:/c,x"), [pair("lowerdir", r"/a\,b:/c"), pair("x", "-")]);
        assert_eq!(data(r#"context="u:r:s0:c1,c2""#), [pair("context", r#""u:r:s0:c1,c2""#)]);
        assert_eq!(
            data("rsync rbinds RO rremount"),
            ["rsync", "rbinds", "RO", "rremount"].map(|k| pair(k, "-"))
        );
        assert_eq!(data(""), []);
    }

    #[test]
    fn the_rest() {
        assert_eq!(options("rbind bind").bind, Some(true));
        assert_eq!(options("bind").bind, Some(false));
        assert_eq!(options("idmap ridmap").id_map, Some(true));
        assert_eq!(options("copy-symlink").symlink, Some(SymlinkSource::Copy));
        let all = options("remount tmpcopyup dest-nofollow src-nofollow");
        assert!(all.remount && all.copy_up && all.destination_nofollow);
        assert_eq!(all.symlink, Some(SymlinkSource::NoFollow));
    }
}
