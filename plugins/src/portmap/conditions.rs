//! What `conditionsV4` and `conditionsV6` ask for: which packets the mappings apply to.
//!
//! A list is in words of iptables if it begins with `-` or `!`, and else in words of nft; all of its conditions have to
//! hold. Printed, conditions are words of nft.

use std::fmt;
use std::net::IpAddr;

use cni_spec::parameters::interface_name;
use ipnet::IpNet;
use serde_json::Value;

use crate::fields::{Fields, Place, invalid};
use crate::refusal::Refusal;

/// How many addresses and names conditions may hold: the kernel takes a rule of 128 expressions.
const MOST: usize = 40;
/// The longest name of an interface in bytes.
const NAME_MAX: usize = 15;

/// An interface by its name, or all whose name begins so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) is_beginning: bool,
}

/// What a condition looks at, and what it may be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    Sources(Vec<IpNet>),
    Destinations(Vec<IpNet>),
    /// Where a packet comes in.
    Interfaces(Vec<Interface>),
}

/// One condition; negated, none of what it allows may be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    pub(super) allowed: Allowed,
    pub(super) negated: bool,
}

/// The conditions of a family, at least one, in an order that does not depend on how they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conditions {
    ipv4: bool,
    all: Vec<Condition>,
}

/// Whose words conditions are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Iptables,
    Nft,
}

impl Dialect {
    fn of(words: &[&str]) -> Dialect {
        match words.first().is_some_and(|word| word.starts_with(['-', '!'])) {
            true => Dialect::Iptables,
            false => Dialect::Nft,
        }
    }

    /// The backend that they are for.
    fn backend(self) -> &'static str {
        match self {
            Dialect::Iptables => "iptables",
            Dialect::Nft => "nftables",
        }
    }

    /// What is understood.
    fn usage(self) -> &'static str {
        match self {
            Dialect::Iptables => "use -s, -d or -i with a value, and ! in front of what to keep out",
            Dialect::Nft => {
                "use ip saddr, ip daddr (ip6 for IPv6) or iifname, then != to keep out, then a value or { a, b }"
            }
        }
    }
}

impl Conditions {
    /// Reads the conditions of a family; `None` where there are none. A backend that is named has to be that of the
    /// words, as the Go plugin wants it.
    pub(super) fn read(
        fields: Fields<'_>,
        ipv4: bool,
        backend: Option<&str>,
    ) -> Result<Option<Conditions>, Refusal> {
        let key = if ipv4 { "conditionsV4" } else { "conditionsV6" };
        let text = |(place, item): (Place, &'_ Value)| match item.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(invalid(&place, format!("found {item}, use a string"))),
        };
        let words: Vec<String> = fields.elements(key)?.into_iter().map(text).collect::<Result<_, _>>()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words.is_empty() {
            return Ok(None);
        }
        let own = Dialect::of(&words).backend();
        if let Some(other) = backend.filter(|backend| *backend != own) {
            let problem = format!("{:?} is in words for the backend {own}, not {other}", words[0]);
            return Err(invalid(&fields.place(key), format!("{problem}: change one of them")));
        }
        Conditions::parse(&words, ipv4).map(Some).map_err(|problem| invalid(&fields.place(key), problem))
    }

    fn parse(words: &[&str], ipv4: bool) -> Result<Conditions, String> {
        let mut all = match Dialect::of(words) {
            Dialect::Iptables => from_iptables(words, ipv4)?,
            Dialect::Nft => from_nft(&tokens(&words.join(" ")), ipv4)?,
        };
        if all.iter().map(Condition::len).sum::<usize>() > MOST {
            return Err(format!("more than {MOST} addresses and names: take them together as prefixes"));
        }
        all.sort();
        all.dedup();
        Ok(Conditions { ipv4, all })
    }

    pub(super) fn ipv4(&self) -> bool {
        self.ipv4
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.all.iter()
    }

    /// Whether a packet between these addresses meets the conditions, as far as addresses tell.
    pub(super) fn may_be_met(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.all.iter().all(|condition| {
            let is_in = |prefixes: &[IpNet], address| prefixes.iter().any(|prefix| prefix.contains(&address));
            match &condition.allowed {
                Allowed::Sources(prefixes) => is_in(prefixes, source) != condition.negated,
                Allowed::Destinations(prefixes) => is_in(prefixes, destination) != condition.negated,
                Allowed::Interfaces(_) => true,
            }
        })
    }
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Source,
    Destination,
    Interface,
}

impl Condition {
    /// A condition on what texts name, each in words of a dialect.
    fn new(
        subject: Subject,
        negated: bool,
        texts: &[&str],
        dialect: Dialect,
        ipv4: bool,
    ) -> Result<Condition, String> {
        let prefixes = || {
            let mut all =
                texts.iter().map(|text| prefix(text, dialect, ipv4)).collect::<Result<Vec<_>, _>>()?;
            all.sort();
            all.dedup();
            Ok::<_, String>(all)
        };
        let allowed = match subject {
            Subject::Source => Allowed::Sources(prefixes()?),
            Subject::Destination => Allowed::Destinations(prefixes()?),
            Subject::Interface => {
                let mut all =
                    texts.iter().map(|text| interface(text, dialect)).collect::<Result<Vec<_>, _>>()?;
                all.sort();
                all.dedup();
                Allowed::Interfaces(all)
            }
        };
        Ok(Condition { allowed, negated })
    }

    fn subject(&self) -> Subject {
        match self.allowed {
            Allowed::Sources(_) => Subject::Source,
            Allowed::Destinations(_) => Subject::Destination,
            Allowed::Interfaces(_) => Subject::Interface,
        }
    }

    fn len(&self) -> usize {
        match &self.allowed {
            Allowed::Sources(all) | Allowed::Destinations(all) => all.len(),
            Allowed::Interfaces(all) => all.len(),
        }
    }
}

fn unknown(word: &str, dialect: Dialect) -> String {
    format!("cannot read {word:?}: {}", dialect.usage())
}

fn prefix(text: &str, dialect: Dialect, ipv4: bool) -> Result<IpNet, String> {
    let found = match text.split_once('/') {
        None => text.parse::<IpAddr>().ok().map(IpNet::from),
        Some((address, length)) => text.parse().ok().or_else(|| {
            // iptables takes the mask of an IPv4 prefix as an address, too.
            let mask: std::net::Ipv4Addr = length.parse().ok().filter(|_| dialect == Dialect::Iptables)?;
            IpNet::with_netmask(address.parse().ok()?, mask.into()).ok()
        }),
    };
    let (family, example) = if ipv4 { ("IPv4", "192.0.2.0/24") } else { ("IPv6", "2001:db8::/32") };
    let wanted = || format!("cannot read {text:?}: use an {family} address or prefix like {example}");
    found.filter(|prefix| prefix.addr().is_ipv4() == ipv4).map(|prefix| prefix.trunc()).ok_or_else(wanted)
}

fn interface(text: &str, dialect: Dialect) -> Result<Interface, String> {
    let wildcard = match dialect {
        Dialect::Iptables => '+',
        Dialect::Nft => '*',
    };
    let bare = match text.strip_prefix('"').filter(|_| dialect == Dialect::Nft) {
        None => Some(text),
        Some(quoted) => quoted.strip_suffix('"'),
    };
    let wanted = || {
        format!("cannot read {text:?}: use an interface's name, or its beginning and {wildcard} behind it")
    };
    let bare = bare.ok_or_else(wanted)?;
    let beginning = bare.strip_suffix(wildcard);
    let name = beginning.unwrap_or(bare);
    // Either program would take these for something else.
    let is_plain = !name.contains(['"', '\\', '*', '+']);
    match is_plain && interface_name(name).is_ok() && bare.len() <= NAME_MAX {
        true => Ok(Interface { name: name.to_owned(), is_beginning: beginning.is_some() }),
        false => Err(wanted()),
    }
}

fn from_iptables(words: &[&str], ipv4: bool) -> Result<Vec<Condition>, String> {
    let dialect = Dialect::Iptables;
    let mut all: Vec<Condition> = Vec::new();
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        let negated = word == "!";
        let option = if negated { rest.next().ok_or_else(|| unknown(word, dialect))? } else { word };
        let subject = match option {
            "-s" | "--source" | "--src" => Subject::Source,
            "-d" | "--destination" | "--dst" => Subject::Destination,
            "-i" | "--in-interface" => Subject::Interface,
            _ => return Err(unknown(option, dialect)),
        };
        if all.iter().any(|other| other.subject() == subject) {
            return Err(format!("{option:?} is there twice, which iptables does not take: remove one"));
        }
        let value = rest.next().ok_or_else(|| format!("{option:?} lacks its value: {}", dialect.usage()))?;
        let texts: Vec<&str> = match subject {
            Subject::Interface => vec![value],
            Subject::Source | Subject::Destination => value.split(',').collect(),
        };
        if negated && texts.len() > 1 {
            return Err(format!("{value:?} behind ! is more than one prefix, which iptables does not take"));
        }
        all.push(Condition::new(subject, negated, &texts, dialect, ipv4)?);
    }
    Ok(all)
}

/// The words, braces, commas and operators of a text; a word in quotes keeps them.
fn tokens(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '{' | '}' | ',' => 1,
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with("!=") || rest.starts_with("==") => 2,
            _ => {
                let ends = |(index, one): (usize, char)| {
                    let is_operator = || rest[index..].starts_with("!=") || rest[index..].starts_with("==");
                    (one.is_whitespace() || "{},\"".contains(one) || is_operator()).then_some(index)
                };
                rest.char_indices().find_map(ends).unwrap_or(rest.len())
            }
        };
        let (token, after) = rest.split_at(length);
        all.push(token);
        rest = after.trim_start();
    }
    all
}

fn from_nft(tokens: &[&str], ipv4: bool) -> Result<Vec<Condition>, String> {
    let dialect = Dialect::Nft;
    let family = if ipv4 { "ip" } else { "ip6" };
    let mut all = Vec::new();
    let mut rest = tokens.iter().copied().peekable();
    let lacks = |word: &str| format!("something is missing behind {word:?}: {}", dialect.usage());
    while let Some(word) = rest.next() {
        let subject = match word {
            "iifname" => Subject::Interface,
            "meta" => match rest.next() {
                Some("iifname") => Subject::Interface,
                other => return Err(unknown(other.unwrap_or(word), dialect)),
            },
            "ip" | "ip6" if word != family => {
                return Err(format!("{word:?} is of the other family: use {family}"));
            }
            "ip" | "ip6" => match rest.next() {
                Some("saddr") => Subject::Source,
                Some("daddr") => Subject::Destination,
                other => return Err(unknown(other.unwrap_or(word), dialect)),
            },
            _ => return Err(unknown(word, dialect)),
        };
        let negated = rest.next_if(|next| ["!=", "ne"].contains(next)).is_some();
        if !negated {
            let _ = rest.next_if(|next| ["==", "eq"].contains(next));
        }
        let mut texts = Vec::new();
        if rest.next_if_eq(&"{").is_some() {
            loop {
                texts.push(rest.next().ok_or_else(|| lacks(word))?);
                let is_over = rest.next_if_eq(&",").is_none();
                if rest.next_if_eq(&"}").is_some() {
                    break;
                }
                if is_over {
                    return Err(lacks(texts.last().unwrap_or(&word)));
                }
            }
        } else {
            texts.push(rest.next().ok_or_else(|| lacks(word))?);
        }
        all.push(Condition::new(subject, negated, &texts, dialect, ipv4)?);
    }
    match all.is_empty() {
        true => Err(format!("only empty words: {}", dialect.usage())),
        false => Ok(all),
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}{}\"", self.name, if self.is_beginning { "*" } else { "" })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv4 { "ip" } else { "ip6" };
        for (index, condition) in self.all.iter().enumerate() {
            let texts = |all: &[IpNet]| all.iter().map(IpNet::to_string).collect::<Vec<_>>();
            let (subject, values) = match &condition.allowed {
                Allowed::Sources(all) => (format!("{family} saddr"), texts(all)),
                Allowed::Destinations(all) => (format!("{family} daddr"), texts(all)),
                Allowed::Interfaces(all) => {
                    ("iifname".to_owned(), all.iter().map(Interface::to_string).collect())
                }
            };
            let space = if index == 0 { "" } else { " " };
            let operator = if condition.negated { "!= " } else { "" };
            write!(f, "{space}{subject} {operator}")?;
            match &values[..] {
                [one] => f.write_str(one)?,
                several => write!(f, "{{ {} }}", several.join(", "))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(words: &Value, ipv4: bool, backend: Option<&str>) -> Result<Option<Conditions>, String> {
        let config = json!({ if ipv4 { "conditionsV4" } else { "conditionsV6" }: words });
        let fields = Fields::root(config.as_object().expect("an object"));
        Conditions::read(fields, ipv4, backend).map_err(|error| {
            assert_eq!(error.code, cni_spec::error::INVALID_CONFIGURATION);
            error.msg.clone()
        })
    }

    fn text(words: &Value, ipv4: bool) -> String {
        read(words, ipv4, None).unwrap().map(|conditions| conditions.to_string()).unwrap_or_default()
    }

    #[test]
    fn both_dialects_say_the_same() {
        for (iptables, nft, ipv4, printed) in [
            (
                json!(["!", "-s", "192.0.2.7/24"]),
                json!(["ip", "saddr", "!=", "192.0.2.0/24"]),
                true,
                "ip saddr != 192.0.2.0/24",
            ),
            (
                json!(["-d", "192.0.2.1,10.0.0.0/255.0.0.0", "-i", "eth+"]),
                json!(["iifname eth* ip daddr {192.0.2.1,10.0.0.0/8,}"]),
                true,
                "ip daddr { 10.0.0.0/8, 192.0.2.1/32 } iifname \"eth*\"",
            ),
            (
                json!(["!", "--in-interface", "wan0", "--src", "fc00::/7"]),
                json!(["ip6 saddr==fc00::/7", "meta", "iifname", "ne", "\"wan0\""]),
                false,
                "ip6 saddr fc00::/7 iifname != \"wan0\"",
            ),
        ] {
            assert_eq!(text(&iptables, ipv4), printed);
            assert_eq!(text(&nft, ipv4), printed);
        }
        assert_eq!(read(&json!([]), true, Some("nftables")), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (words, ipv4, expected) in [
            (json!(["-m", "addrtype"]), true, "cannot read \"-m\": use -s, -d or -i"),
            (json!(["-s"]), true, "\"-s\" lacks its value"),
            (json!(["!"]), true, "cannot read \"!\""),
            (json!(["-s", "!", "192.0.2.1"]), true, "cannot read \"!\": use an IPv4 address"),
            (json!(["-s", "fd00::1"]), true, "cannot read \"fd00::1\": use an IPv4 address"),
            (json!(["-s", "10.0.0.0/8", "-s", "10.0.0.1"]), true, "\"-s\" is there twice"),
            (json!(["!", "-s", "10.0.0.1,10.0.0.2"]), true, "\"10.0.0.1,10.0.0.2\" behind !"),
            (json!(["-i", "+"]), true, "cannot read \"+\": use an interface's name"),
            (json!(["-i", "a b"]), true, "cannot read \"a b\": use an interface's name"),
            (json!(["tcp", "sport", "53"]), true, "cannot read \"tcp\": use ip saddr"),
            (json!(["ip", "protocol", "tcp"]), true, "cannot read \"protocol\": use ip saddr"),
            (json!(["ip saddr 10.0.0.1-10.0.0.9"]), true, "cannot read \"10.0.0.1-10.0.0.9\""),
            (json!(["ip saddr { 10.0.0.1 10.0.0.2 }"]), true, "something is missing behind \"10.0.0.1\""),
            (json!(["ip saddr { 10.0.0.1,"]), true, "something is missing behind \"ip\""),
            (json!(["ip", "saddr"]), true, "something is missing behind \"ip\""),
            (json!(["ip", "saddr", "10.0.0.1"]), false, "\"ip\" is of the other family: use ip6"),
            (json!(["iif", "eth0"]), true, "cannot read \"iif\""),
            (json!([""]), true, "only empty words"),
            (json!([7]), true, "found 7, use a string"),
        ] {
            let error = read(&words, ipv4, None).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(error.starts_with(if ipv4 { "conditionsV4" } else { "conditionsV6" }), "{error}");
        }
        let many: Vec<String> = (0..=MOST).map(|number| format!("10.0.0.{number}")).collect();
        let error = read(&json!(["-s", many.join(",")]), true, None).unwrap_err();
        assert!(error.contains("more than 40 addresses"), "{error}");
    }

    #[test]
    fn words_are_those_of_the_backend() {
        let (iptables, nft) = (json!(["-s", "10.0.0.1"]), json!(["ip", "saddr", "10.0.0.1"]));
        assert_eq!(read(&iptables, true, Some("iptables")), read(&nft, true, Some("nftables")));
        let error = read(&iptables, true, Some("nftables")).unwrap_err();
        assert!(error.contains("\"-s\" is in words for the backend iptables, not nftables"), "{error}");
        assert!(read(&nft, true, Some("iptables")).is_err());
    }

    #[test]
    fn addresses_tell_whether_conditions_may_be_met() {
        let of = |words: &[&str]| Conditions::parse(words, true).unwrap();
        let (inside, outside) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([192, 0, 2, 1]));
        let conditions = of(&["-s", "10.0.0.0/8", "!", "-d", "10.0.0.0/8", "-i", "eth0"]);
        assert!(conditions.may_be_met(inside, outside));
        assert!(!conditions.may_be_met(outside, outside));
        assert!(!conditions.may_be_met(inside, inside));
    }

    fn prefixes(ipv4: bool) -> BoxedStrategy<String> {
        match ipv4 {
            true => (any::<[u8; 4]>(), 0..=32_u8)
                .prop_map(|(bytes, length)| format!("{}/{length}", IpAddr::from(bytes)))
                .boxed(),
            false => (any::<[u8; 16]>(), 0..=128_u8)
                .prop_map(|(bytes, length)| format!("{}/{length}", IpAddr::from(bytes)))
                .boxed(),
        }
    }

    fn condition(ipv4: bool) -> BoxedStrategy<String> {
        let family = if ipv4 { "ip" } else { "ip6" };
        let several = |one: BoxedStrategy<String>| {
            prop::collection::vec(one, 1..5).prop_map(|all| format!("{{ {} }}", all.join(", ")))
        };
        let names = "\"[a-z][a-z0-9.{}!=-]{0,13}\\*?\"".boxed();
        let subject = (prop::sample::select(vec!["saddr", "daddr"]), several(prefixes(ipv4)))
            .prop_map(move |(end, values)| (format!("{family} {end}"), values));
        let interfaces = several(names).prop_map(|values| ("iifname".to_owned(), values));
        (prop_oneof![subject, interfaces], any::<bool>())
            .prop_map(|((subject, values), negated)| {
                format!("{subject} {}{values}", if negated { "!= " } else { "" })
            })
            .boxed()
    }

    /// Words that the parser knows, and others.
    fn any_word() -> BoxedStrategy<String> {
        let known = [
            "-s",
            "-d",
            "-i",
            "!",
            "ip",
            "ip6",
            "saddr",
            "daddr",
            "meta",
            "iifname",
            "!=",
            "==",
            "{",
            "}",
            ",",
            "+",
            "10.0.0.0/8",
            "fd00::/8",
            "eth+",
            "\"eth0",
            "10.0.0.1,10.0.0.2",
        ];
        prop_oneof![prop::sample::select(known.map(str::to_owned).to_vec()), any::<String>()].boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn conditions_are_read_back(
            (ipv4, all) in any::<bool>().prop_flat_map(|ipv4| (Just(ipv4), prop::collection::vec(condition(ipv4), 1..6))),
        ) {
            let words: Vec<&str> = all.iter().map(String::as_str).collect();
            let conditions = Conditions::parse(&words, ipv4).unwrap();
            let printed = conditions.to_string();
            prop_assert_eq!(Conditions::parse(&[&printed], ipv4), Ok(conditions.clone()));
            let split: Vec<&str> = printed.split(' ').collect();
            prop_assert_eq!(Conditions::parse(&split, ipv4), Ok(conditions));
        }

        #[test]
        fn reading_ends_on_any_words(words in prop::collection::vec(any_word(), 0..12), ipv4: bool) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Ok(conditions) = Conditions::parse(&words, ipv4) {
                let printed = conditions.to_string();
                prop_assert_eq!(Conditions::parse(&[&printed], ipv4), Ok(conditions));
            }
        }
    }
}
