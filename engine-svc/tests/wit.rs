//! The WIT packages, resolved, against the frozen tables: names, order and types are part of the ABI of every component.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

#[test]
fn the_packages_are_those_that_components_were_built_for() {
    let mut resolve = Resolve::default();
    resolve
        .push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit"))
        .unwrap();
    let mut found = BTreeMap::new();
    for (_, interface) in &resolve.interfaces {
        let (Some(name), Some(package)) = (&interface.name, interface.package) else {
            continue;
        };
        let mut text = String::new();
        for (name, id) in &interface.types {
            // A type of another interface that is only brought into scope has no shape of its own.
            if !is_use(&resolve, *id) {
                writeln!(text, "{name} = {}", definition(&resolve, *id)).unwrap();
            }
        }
        for function in interface.functions.values() {
            writeln!(text, "{}", signature(&resolve, function)).unwrap();
        }
        found.insert(format!("{}/{name}", resolve.packages[package].name), text);
    }
    for (_, world) in &resolve.worlds {
        let Some(package) = world.package else { continue };
        let mut text = String::new();
        for (direction, items) in [("import", &world.imports), ("export", &world.exports)] {
            for (key, item) in items {
                match (key, item) {
                    (WorldKey::Name(name), WorldItem::Interface { id, .. }) => {
                        writeln!(text, "{direction} {name}").unwrap();
                        for function in resolve.interfaces[*id].functions.values() {
                            writeln!(text, "  {}", signature(&resolve, function)).unwrap();
                        }
                    }
                    (WorldKey::Interface(_), WorldItem::Interface { id, .. })
                        if !resolve.interfaces[*id].functions.is_empty() =>
                    {
                        writeln!(text, "{direction} {}", resolve.name_world_key(key)).unwrap();
                    }
                    (_, WorldItem::Function(function)) => {
                        writeln!(text, "{direction} {}", signature(&resolve, function)).unwrap();
                    }
                    _ => {}
                }
            }
        }
        found.insert(format!("world {}/{}", resolve.packages[package].name, world.name), text);
    }
    let text = found
        .iter()
        .map(|(name, body)| format!("# {name}\n{body}"))
        .collect::<Vec<_>>()
        .join("\n");
    let golden = include_str!("wit.golden");
    assert!(
        text.trim() == golden.trim(),
        "the WIT differs from tests/wit.golden, which must not change:\n{text}"
    );
}

fn is_use(resolve: &Resolve, id: TypeId) -> bool {
    match &resolve.types[id].kind {
        TypeDefKind::Type(Type::Id(target)) => resolve.types[*target].owner != resolve.types[id].owner,
        _ => false,
    }
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let list = |cases: Vec<String>| cases.join(", ");
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => format!(
            "record {{{}}}",
            list(
                record
                    .fields
                    .iter()
                    .map(|field| format!("{}: {}", field.name, name(resolve, &field.ty)))
                    .collect()
            )
        ),
        TypeDefKind::Variant(variant) => format!(
            "variant {{{}}}",
            list(
                variant
                    .cases
                    .iter()
                    .map(|case| match &case.ty {
                        Some(ty) => format!("{}({})", case.name, name(resolve, ty)),
                        None => case.name.clone(),
                    })
                    .collect()
            )
        ),
        TypeDefKind::Type(ty) => name(resolve, ty),
        _ => anonymous(resolve, id),
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params = function
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, name(resolve, &param.ty)))
        .collect::<Vec<_>>();
    let result = function
        .result
        .as_ref()
        .map_or(String::new(), |ty| format!(" -> {}", name(resolve, ty)));
    format!("{}({}){result}", function.name, params.join(", "))
}

fn name(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => anonymous(resolve, *id),
        },
        other => format!("{other:?}").to_lowercase(),
    }
}

fn anonymous(resolve: &Resolve, id: TypeId) -> String {
    let optional = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), |ty| name(resolve, ty));
    match &resolve.types[id].kind {
        TypeDefKind::Option(ty) => format!("option<{}>", name(resolve, ty)),
        TypeDefKind::List(ty) => format!("list<{}>", name(resolve, ty)),
        TypeDefKind::Tuple(tuple) => {
            format!(
                "tuple<{}>",
                tuple
                    .types
                    .iter()
                    .map(|ty| name(resolve, ty))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".to_owned(),
            _ => format!("result<{}, {}>", optional(&result.ok), optional(&result.err)),
        },
        TypeDefKind::Handle(Handle::Own(id)) => resolve.types[*id].name.clone().unwrap_or_default(),
        TypeDefKind::Handle(Handle::Borrow(id)) => {
            format!("borrow<{}>", resolve.types[*id].name.clone().unwrap_or_default())
        }
        TypeDefKind::Resource => "resource".to_owned(),
        other => format!("{other:?}"),
    }
}
