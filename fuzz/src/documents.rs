//! The schemas: validator, generator and mutator, and whether the typed parsers agree with them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use cni_schemas::generate::{Generator, Source};
use cni_schemas::mutate::text::{Kind as TextKind, Meaning};
use cni_schemas::mutate::{Mutator, environment};
use cni_schemas::{Composed, Kind, PluginSchema, Profile, Violation, infer, validate};
use cni_spec::config::{NetworkList, PluginConfig};
use cni_spec::error::CniError;
use cni_spec::parameters::{self, Parameters};
use cni_spec::result::{AddResult, Dns, VersionResult};
use cni_spec::{DocumentError, Operation, Version, keys};
use serde_json::Value;

use crate::Bytes;

/// A schema, made once: compiling takes longer than a thousand documents.
pub(crate) struct Schema {
    pub(crate) composed: Composed,
    pub(crate) generator: Generator,
    mutator: Mutator,
}

/// Joined with the keys of these plugins.
const PLUGINS: [&[&str]; 6] =
    [&[], &["bridge", "host-local"], &["portmap"], &["tuning"], &["firewall"], &["ptp", "static"]];

type Name = (Kind, Version, Profile, Vec<&'static str>);

/// `None` where the version has no such document, or the document no place for plugins' keys.
pub(crate) fn schema(kind: Kind, version: Version, profile: Profile, plugins: &[&'static str]) -> Option<Rc<Schema>> {
    thread_local! {
        static MADE: RefCell<HashMap<Name, Option<Rc<Schema>>>> = RefCell::default();
    }
    let name = (kind, version, profile, plugins.to_vec());
    if let Some(made) = MADE.with_borrow(|all| all.get(&name).cloned()) {
        return made;
    }
    let make = || {
        let own: Vec<PluginSchema> = plugins.iter().filter_map(|name| PluginSchema::known(name)).collect();
        let composed = Composed::compose(kind, version, profile, &own).ok()?;
        let generator = composed.generator().expect("our own schemas are understood");
        let mutator = Mutator::new(&composed).expect("our own schemas are understood");
        Some(Rc::new(Schema { composed, generator, mutator }))
    };
    let made = make();
    MADE.with_borrow_mut(|all| all.insert(name, made.clone()));
    made
}

/// The schema that the first bytes choose, and how large documents are.
fn chosen(bytes: &mut Bytes<'_>) -> Option<(Rc<Schema>, usize)> {
    let (kind, version) = (bytes.choose(&Kind::ALL), bytes.version());
    let (profile, plugins) = (bytes.choose(&Profile::ALL), bytes.choose(&PLUGINS));
    Some((schema(kind, version, profile, plugins)?, bytes.below(9) as usize))
}

fn messages(violations: &[Violation]) -> Vec<&str> {
    violations.iter().map(|violation| violation.message.as_str()).collect()
}

/// Any document, as anything: strict rejects what compat rejects, and every violation names a requirement and a place.
pub fn schemas(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let kind = bytes.choose(&Kind::ALL);
    let Ok(value) = serde_json::from_slice::<Value>(bytes.rest()) else { return };
    for version in Version::ALL {
        let [compat, strict] = Profile::ALL.map(|profile| validate(kind, version, profile, &value));
        let (Ok(compat), Ok(strict)) = (compat, strict) else {
            assert!(!kind.defined_in(version));
            continue;
        };
        assert!(compat.is_empty() || !strict.is_empty(), "strict accepts what compat rejects");
        for violation in compat.iter().chain(&strict) {
            assert!(violation.requirement.is_some(), "{violation:?}");
            assert!(!violation.message.contains('\n'), "{violation:?}");
            assert!(violation.keyword != "schema", "no constraint of ours: {violation:?}");
        }
    }
    let _ = infer(&value);
}

/// Whatever the decisions are, the document validates, and the same decisions make the same one. Compat accepts what is
/// made after strict, and text loses nothing.
pub fn generate(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    let document = schema.generator.generate(&mut bytes.clone(), size);
    let violations = schema.composed.validate(&document);
    assert!(violations.is_empty(), "{:?}: {document}: {:?}", schema.composed, messages(&violations));
    assert_eq!(schema.generator.generate(&mut bytes, size), document);
    let (kind, version) = (schema.composed.kind(), schema.composed.version());
    let compat = validate(kind, version, Profile::Compat, &document).expect("defined");
    assert!(compat.is_empty(), "{document}: {:?}", messages(&compat));
    let text = document.to_string();
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), document);
}

/// A mutation breaks the constraint that it names, at the place that it names, and no other.
pub fn mutate(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    let constraints = schema.composed.constraints();
    let site = bytes.below(constraints.len() as u32) as usize;
    let document = schema.generator.generate(&mut bytes, size);
    let Ok(mutation) = schema.mutator.mutate(&document, site, &mut bytes) else { return };
    assert_ne!(mutation.document, document);
    assert_eq!(mutation.keyword, constraints[site].keyword);
    let violations = schema.composed.validate(&mutation.document);
    let [only] = violations.as_slice() else { panic!("{mutation:?} breaks {:?}", messages(&violations)) };
    assert_eq!(
        (&only.schema_path, &only.instance_path, only.requirement, only.code),
        (&mutation.schema_path, &mutation.instance_path, mutation.requirement, mutation.code)
    );
    assert!(mutation.plugin_own || mutation.requirement.is_some(), "{mutation:?}");
    let at = mutation.document.pointer(&mutation.instance_path);
    assert!(at.is_some(), "{mutation:?}: there is nothing at {:?}", mutation.instance_path);
}

/// Changes of the encoded text are JSON or not, as they say; changes of the environment break the rule that they name.
pub fn text(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (kind, operation) = (bytes.choose(&TextKind::ALL), bytes.choose(&Operation::ALL));
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    broken_environment(operation, schema.composed.version());
    let document = schema.generator.generate(&mut bytes, size);
    let Some(changed) = kind.apply(&document, &mut bytes) else { return };
    let read = serde_json::from_slice::<Value>(&changed);
    match kind.meaning() {
        Meaning::NotJson => assert!(read.is_err(), "{}: {}", kind.as_str(), changed.escape_ascii()),
        // What a reader may do with it is its own affair.
        Meaning::Unclear => assert!(changed != document.to_string().into_bytes()),
    }
}

fn broken_environment(operation: Operation, version: Version) {
    if operation.since() > version {
        return;
    }
    let good = Parameters::from_pairs([
        ("CNI_COMMAND", operation.as_str()),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ]);
    assert_eq!(good.validate(version), Ok(operation));
    for mutation in environment::mutations(operation, version) {
        let broken = mutation.apply(&good).validate(version);
        assert!(broken.is_err(), "{operation} {version}: {mutation:?} breaks nothing");
    }
}

/// The typed parsers and the schemas agree on what is valid. The document is made by the generator, possibly with one
/// constraint broken, or is the text that follows.
pub fn agreement(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (kind, version) = (bytes.choose(&Kind::ALL), bytes.version());
    let way = bytes.below(4);
    if way == 3 {
        if let Ok(document) = serde_json::from_slice(bytes.rest()) {
            agree(kind, version, &document);
        }
        return;
    }
    let profile = bytes.choose(&Profile::ALL);
    let Some(schema) = schema(kind, version, profile, &[]) else { return };
    let (size, site) = (bytes.below(9) as usize, bytes.below(schema.composed.constraints().len() as u32) as usize);
    let document = schema.generator.generate(&mut bytes, size);
    agree(kind, version, &document);
    if way > 0
        && let Ok(mutation) = schema.mutator.mutate(&document, site, &mut bytes)
    {
        agree(kind, version, &mutation.document);
    }
}

fn agree(kind: Kind, version: Version, document: &Value) {
    let Ok(violations) = validate(kind, version, Profile::Compat, document) else { return };
    // A label of another version has the document read as one of that.
    let label = document.get(keys::CNI_VERSION).and_then(Value::as_str).filter(|text| !text.is_empty());
    if label.is_some_and(|label| label != version.as_str()) {
        return;
    }
    let Some(typed) = typed(kind, version, document) else { return };
    match &typed {
        Ok(()) => assert!(
            violations.is_empty(),
            "{kind} {version}: the types accept what the schema rejects: {document}: {:?}",
            messages(&violations)
        ),
        Err(problem) => assert!(
            !violations.is_empty(),
            "{kind} {version}: the types reject what the schema accepts: {document}: {problem}"
        ),
    }
}

/// What the typed protocol says of a document; `None` for a kind that it has no type for.
fn typed(kind: Kind, version: Version, document: &Value) -> Option<Result<(), String>> {
    let text = |error: DocumentError| error.to_string();
    Some(match kind {
        Kind::ResultAdd | Kind::ResultIpam => add_result(version, document),
        Kind::ResultVersion => VersionResult::parse(document).map(|_| ()).map_err(text),
        Kind::Error => CniError::parse(document).map(|_| ()).map_err(text),
        Kind::ConfigList => list(version, NetworkList::parse_list(document)),
        Kind::ConfigSingle => list(version, NetworkList::parse_single(document)),
        _ => return None,
    })
}

fn add_result(version: Version, document: &Value) -> Result<(), String> {
    let result = AddResult::parse(document, version).map_err(|error| error.to_string())?;
    for ip in &result.ips {
        if ip.interface.is_some() && version >= Version::V0_3_0 && result.interface_of(ip).is_none() && ip.interface != Some(-1) {
            return Err(format!("{} has no interface", ip.address));
        }
    }
    Ok(())
}

fn list(version: Version, list: Result<NetworkList, DocumentError>) -> Result<(), String> {
    let list = list.map_err(|error| error.to_string())?;
    parameters::network_name(list.name(), version).map_err(|error| error.to_string())?;
    for plugin in list.plugins() {
        let types = [Some(plugin.plugin_type()), plugin.ipam_type()];
        for name in types.into_iter().flatten() {
            parameters::plugin_type(name, version).map_err(|error| error.to_string())?;
        }
        dns(plugin)?;
    }
    Ok(())
}

fn dns(plugin: &PluginConfig) -> Result<(), String> {
    plugin.fields().get("dns").map_or(Ok(()), |dns| Dns::parse(dns).map(|_| ()).map_err(|error| error.to_string()))
}
