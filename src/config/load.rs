//! Puts the settings together: defaults < `config.toml` < `.env` < environment < flags.
//!
//! Everything that is wrong is told at once, each as a sentence that names the source, the key and what would be right.
//! A secret is never part of a sentence. The result remembers where each value came from.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::{Actual, Kind},
    providers::Serialized,
    value::{Dict, Map, Value},
};

use super::{
    Config, LogFormat, agree, check, flatten, secrets,
    sources::{self, Flag, Given, Origin, Said},
};

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`: must exist. Without it, `config.toml` in `folder` is read where it exists.
    pub file: Option<PathBuf>,
    /// The working directory: where `config.toml` is, unless another is named. `.env` is beside it.
    pub folder: PathBuf,
    pub environment: Vec<(OsString, OsString)>,
    /// Later ones win.
    pub flags: Vec<Flag>,
}

#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Which source the value of a key came from; keys that no source gives are not in it.
    pub origins: BTreeMap<String, Origin>,
    /// What an operator should know and what does not stop the start.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with the settings, a sentence each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let given = read(inputs, &mut problems, &mut warnings);
    let schema = Schema::new();

    let mut figment = schema.defaults.clone();
    let (mut origins, mut edges) = (BTreeMap::new(), BTreeMap::new());
    for given in given {
        if schema.is_empty_section(&given) {
            continue;
        }
        let edge = given.edge();
        match schema.accept(&given) {
            Ok(value) => {
                edges.insert(given.key.clone(), edge.filter(|_| value.as_str().is_some()));
                figment = figment.merge(One { key: &given.key, value, origin: &given.origin });
                origins.insert(given.key, given.origin);
            }
            Err(sentence) => {
                let edge = edge.map(|edge| format!("; the value {edge}")).unwrap_or_default();
                problems.push(format!("{}: {sentence}{edge}", given.origin));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config: Config = figment.extract().map_err(|error| Problems(vec![error.kind.to_string()]))?;
    let is_set = |key: &str| origins.contains_key(key);
    let mut wrong = check::problems(&config, &schema.keys);
    if wrong.is_empty() {
        wrong = agree::problems(&config, &is_set);
    }
    let edge = |key: &str| edges.get(key).copied().flatten();
    if !wrong.is_empty() {
        let name = |(key, sentence): (String, String)| {
            let edge = edge(&key).map(|edge| format!("; the value {edge}")).unwrap_or_default();
            match origins.get(&key) {
                Some(origin) => format!("{origin}: `{key}` {sentence}{edge}"),
                None => format!("`{key}` {sentence}"),
            }
        };
        return Err(Problems(wrong.into_iter().map(name).collect()));
    }
    for (key, origin) in &origins {
        if let Some(edge) = edge(key) {
            warnings.push(format!("{origin}: the value of `{key}` {edge}"));
        }
    }
    warnings.extend(check::warnings(&config));
    Ok(Loaded { config, origins, warnings })
}

/// Whether two paths are one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |folder: &Path| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok()
    };
    real(one) == real(other)
}

/// Which form the log is to have, as far as the settings can be understood: to tell what is wrong with them in that form.
pub fn log_format(inputs: &Inputs) -> LogFormat {
    let given = read(inputs, &mut Vec::new(), &mut Vec::new());
    let said = given.iter().rev().filter(|given| given.key == "log.format").map(|given| match &given.said {
        Said::Text(text) => text.as_str(),
        Said::Value(value) => value.as_str().unwrap_or_default(),
    });
    if said.take(1).any(|format| format == "json") { LogFormat::Json } else { LogFormat::Text }
}

/// What every source gives, from weakest to strongest.
fn read(inputs: &Inputs, problems: &mut Vec<String>, warnings: &mut Vec<String>) -> Vec<Given> {
    let mut given = Vec::new();
    let usual = PathBuf::from("config.toml");
    let file = match &inputs.file {
        Some(file) => Some(inputs.folder.join(file)),
        None if inputs.folder.join(&usual).exists() => Some(inputs.folder.join(&usual)),
        None => None,
    };
    // Beside the settings, wherever natter was started.
    let beside = file.as_deref().and_then(Path::parent).map_or(inputs.folder.clone(), PathBuf::from);
    let here = inputs.folder.join(".env");
    if here.exists() && !is_same(&beside, &inputs.folder) {
        let read = beside.join(".env");
        let instead = if read.exists() { format!("{} is", read.display()) } else { "put it there".into() };
        warnings.push(format!(
            "the .env of the folder that natter was started in is not read, since config.toml is in another: {instead}"
        ));
    }
    let one = |result: Result<Vec<Given>, String>| result.map_err(|problem| vec![problem]);
    let sources = [
        file.map_or(Ok(Vec::new()), |file| one(sources::file(&file))),
        sources::dotenv(&beside).map(|dotenv| {
            warnings.extend(dotenv.warnings);
            dotenv.given
        }),
        sources::environment(&inputs.environment),
        Ok(sources::flags(&inputs.flags)),
    ];
    for source in sources {
        match source {
            Ok(some) => match secrets::from_files(some, &inputs.folder) {
                Ok(some) => given.extend(some),
                Err(some) => problems.extend(some),
            },
            Err(some) => problems.extend(some),
        }
    }
    given
}

/// Every key with its default value, which also says its type.
struct Schema {
    defaults: Figment,
    keys: BTreeMap<String, Value>,
}

impl Schema {
    fn new() -> Self {
        let keys = flatten(&Config::default());
        Self { defaults: Figment::from(Serialized::defaults(Config::default())), keys }
    }

    fn is_section(&self, key: &str) -> bool {
        self.keys.keys().any(|known| known.split_once('.').is_some_and(|(section, _)| section == key))
    }

    /// A known section with nothing in it, as in a `config.toml` whose keys are all comments.
    fn is_empty_section(&self, given: &Given) -> bool {
        matches!(&given.said, Said::Value(Value::Dict(_, keys)) if keys.is_empty()) && self.is_section(&given.key)
    }

    /// The value in its setting's type, or what is wrong with it.
    fn accept(&self, given: &Given) -> Result<Value, String> {
        let key = &given.key;
        let Some(default) = self.keys.get(key) else {
            return Err(self.unknown(given));
        };
        let value = match &given.said {
            Said::Value(value) => value.clone(),
            Said::Text(text) => typed(default, text),
        };
        match self.misfit(key, &value, &given.origin) {
            None => Ok(value),
            Some(kind) => Err(self.ill_typed(key, default, kind, &given.origin)),
        }
    }

    fn unknown(&self, given: &Given) -> String {
        let key = &given.key;
        if self.is_section(key) {
            return format!("`{key}` is a section, not a setting; write its keys as `{key}.<key>`");
        }
        let Some(nearest) = check::nearest(key, self.keys.keys().map(String::as_str)) else {
            return format!("there is no setting `{key}`, nor one like it; config.toml lists them all");
        };
        match &given.origin {
            Origin::Dotenv { .. } | Origin::Environment(_) => {
                let variable = sources::variable_of(nearest);
                format!("there is no setting `{key}`; the nearest is `{nearest}` ({variable})")
            }
            _ => format!("there is no setting `{key}`; the nearest is `{nearest}`"),
        }
    }

    /// Why the settings' types do not take the value.
    fn misfit(&self, key: &str, value: &Value, origin: &Origin) -> Option<Kind> {
        let one = One { key, value: value.clone(), origin };
        self.defaults.clone().merge(one).extract::<Config>().err().map(|error| error.kind)
    }

    fn ill_typed(&self, key: &str, default: &Value, kind: Kind, origin: &Origin) -> String {
        let choices = match self.misfit(key, &Value::from("\0"), origin) {
            Some(Kind::UnknownVariant(_, choices)) => Some(choices),
            _ => None,
        };
        let wanted = check::wanted(key, default, choices, &kind);
        let found = match kind {
            Kind::InvalidType(actual, _) | Kind::InvalidValue(actual, _) | Kind::Unsupported(actual) => tell(&actual),
            Kind::UnknownVariant(found, _) => format!("`{found}`"),
            _ => String::new(),
        };
        if found.is_empty() || check::is_secret(key) {
            format!("`{key}` must be {wanted}")
        } else {
            format!("`{key}` must be {wanted}, not {found}")
        }
    }
}

fn tell(actual: &Actual) -> String {
    match actual {
        // What it holds that is not seen is shown as something.
        Actual::Str(text) => format!("`{}`", text.replace(char::is_control, "\u{fffd}")),
        Actual::Bool(value) => format!("`{value}`"),
        Actual::Unsigned(value) => format!("`{value}`"),
        Actual::Signed(value) => format!("`{value}`"),
        Actual::Float(value) => format!("`{value}`"),
        Actual::Seq => "a list".into(),
        Actual::Map => "a section".into(),
        _ => String::new(),
    }
}

/// Text in the type of its setting. What does not fit stays text, as it was written, and is refused with it.
fn typed(default: &Value, text: &str) -> Value {
    let as_text = || Value::from(text);
    let read = match default {
        Value::Array(..) if text.trim().is_empty() => return Value::from(Vec::<String>::new()),
        Value::Array(..) | Value::Bool(..) | Value::Num(..) => text.parse().unwrap_or_else(|_| as_text()),
        _ => as_text(),
    };
    if std::mem::discriminant(&read) == std::mem::discriminant(default) { read } else { as_text() }
}

/// One value as a figment provider, so that figment merges and types it, and knows its source.
struct One<'a> {
    key: &'a str,
    value: Value,
    origin: &'a Origin,
}

impl Provider for One<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let (section, key) = self.key.split_once('.').expect("a known key has a section");
        let section_of_one = Value::from(Dict::from([(key.to_owned(), self.value.clone())]));
        Ok(Profile::Default.collect(Dict::from([(section.to_owned(), section_of_one)])))
    }
}
