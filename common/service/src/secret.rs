//! Values that must not be seen.

use zeroize::Zeroizing;

/// A secret text. It has no `Debug`, `Display` or `Serialize`, so no log line, error or API answer can contain it by accident; its memory is
/// wiped when it is dropped. The hand-over to a child process is the one place that writes it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Shows the value to the code that uses it. The name is long on purpose, so that a review finds every use.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}
