//! Generated from the node's own interface description. A component calls the macro `export!` with the type
//! that implements `Guest`.

wit_bindgen::generate!({
    path: "../../../wit",
    world: "wavs:operator/wavs-world@2.6.0",
    pub_export_macro: true,
    default_bindings_module: "operator_kit::bindings",
    generate_all,
});
