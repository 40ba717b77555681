//! Values that an input can ask for.

use operator_kit::host;

const CONFIG: &str = "configvar:";
const ENV: &str = "envvar:";

/// The value that a marker asks for; none when the text has no marker. The name runs to the end of the text or
/// to the next marker, and a variable goes before a setting.
pub fn replace(text: &str) -> Result<Option<String>, String> {
    if let Some(name) = name_after(text, ENV) {
        let found = wasip2::cli::environment::get_environment()
            .into_iter()
            .find(|(key, _)| key == name);
        return found
            .map(|(_, value)| Some(value))
            .ok_or_else(|| format!("env var {name} not found"));
    }
    if let Some(key) = name_after(text, CONFIG) {
        return host::config_var(key)
            .map(Some)
            .ok_or_else(|| format!("config var {key} not found"));
    }
    Ok(None)
}

fn name_after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(marker)?;
    let end = [CONFIG, ENV]
        .iter()
        .filter_map(|next| rest.find(next))
        .min()
        .unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_the_next_marker() {
        assert_eq!(name_after("configvar:a b", CONFIG), Some("a b"));
        assert_eq!(name_after("x envvar:Yconfigvar:Z", ENV), Some("Y"));
        assert_eq!(name_after("x envvar:Yconfigvar:Z", CONFIG), Some("Z"));
        assert_eq!(name_after("plain", ENV), None);
    }
}
