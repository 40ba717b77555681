//! A component that exports nothing the node could call. Tests expect that the node says so.

wit_bindgen::generate!({ path: "wit", world: "wrong-world" });

struct WrongWorld;

impl Guest for WrongWorld {
    fn hello() -> String {
        "hello".into()
    }
}

export!(WrongWorld);
