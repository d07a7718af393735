//! Policies of the settings file: the tables `[policy.NAME]` and `[[require]]`.

use super::layer::{DEFAULT_FILE, toml_scalar};
use crate::{
    model::{
        http::users::Users,
        label_option::{LabelOption, LabelProtocol, OptionScope, OptionValue, TypedOption},
        option_value::HostMatch,
        policy_book::{GivenValues, PolicyBook, PolicyName, Requirement},
    },
    support::suggest::suggest,
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};
use zeroize::Zeroizing;

/// Names of the tables, which are no options of the program.
pub(super) const TABLES: [&str; 2] = ["policy", "require"];

/// Names a file of users, in place of a list of them in the policy.
const USERS_FILE: &str = "users_file";

/// Options of routes that depend on the container and so are in no policy.
const NOT_IN_POLICIES: [LabelOption; 3] =
    [LabelOption::Bind, LabelOption::TlsBind, LabelOption::Use];

/// The settings file, as far as it has policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    pub path: PathBuf,
    /// A file that nobody named need not exist.
    must_exist: bool,
}

type Entry<'a, 'b> = (&'a Spanned<DeString<'b>>, &'a Spanned<DeValue<'b>>);

impl PolicyFile {
    /// Returns the file that the settings name, or the default one.
    pub fn new(named: Option<PathBuf>) -> Self {
        let must_exist = named.is_some();
        Self { path: named.unwrap_or_else(|| DEFAULT_FILE.into()), must_exist }
    }

    /// Reads the policies.
    ///
    /// # Errors
    /// If the file cannot be read, or a policy is wrong. The message names the line.
    pub fn read(&self) -> Result<PolicyBook> {
        self.read_with_files().0
    }

    /// Does the same, and also returns the files that the policies name, as far as they were read.
    pub fn read_with_files(&self) -> (Result<PolicyBook>, BTreeSet<PathBuf>) {
        let mut files = BTreeSet::new();
        (self.read_noting(&mut files), files)
    }

    fn read_noting(&self, files: &mut BTreeSet<PathBuf>) -> Result<PolicyBook> {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse_policies(&self.path, &text, files),
            Err(error) if !self.must_exist && error.kind() == io::ErrorKind::NotFound => {
                Ok(PolicyBook::default())
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", self.path.display()))
            }
        }
    }
}

/// Parses the policies in the text of a settings file; the rest of it is ignored. Adds the files that they name.
fn parse_policies(path: &Path, text: &str, files: &mut BTreeSet<PathBuf>) -> Result<PolicyBook> {
    let at = |at: usize| format!("{}:{}", path.display(), 1 + text[..at].matches('\n').count());
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        anyhow!("{}: {}", at(start), error.message())
    })?;
    let mut book = PolicyBook::default();
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("policy", DeValue::Table(policies)) => {
                for (name, policy) in policies {
                    let (name, values) = parse_policy((name, policy), &at, files)?;
                    book.policies.insert(name, values);
                }
            }
            ("require", DeValue::Array(tables)) => {
                for table in tables {
                    let requirement =
                        parse_requirement(table).with_context(|| at(table.span().start))?;
                    book.requirements.push(requirement);
                }
            }
            ("policy", _) => bail!("{}: write a table [policy.NAME]", at(key.span().start)),
            ("require", _) => bail!("{}: write a table [[require]]", at(key.span().start)),
            _ => {}
        }
    }
    check_requirements(&book).with_context(|| path.display().to_string())?;
    Ok(book)
}

fn parse_policy(
    (name, policy): Entry<'_, '_>,
    at: &impl Fn(usize) -> String,
    files: &mut BTreeSet<PathBuf>,
) -> Result<(PolicyName, GivenValues)> {
    let (start, text) = (name.span().start, name.get_ref().as_ref());
    let name = text.parse().with_context(|| at(start))?;
    let DeValue::Table(options) = policy.get_ref() else {
        bail!("{}: write a table [policy.{text}]", at(start));
    };
    if options.contains_key(USERS_FILE) && options.contains_key(LabelOption::Users.name()) {
        bail!("{}: policy {text}: write either users or {USERS_FILE}", at(start));
    }
    let value = |(key, value): Entry<'_, '_>| {
        let option = key.get_ref().as_ref();
        let parsed = match option {
            USERS_FILE => read_users(value.get_ref(), files),
            option => parse_option(option, value.get_ref()),
        };
        parsed.with_context(|| format!("{}: policy {text}: {option}", at(key.span().start)))
    };
    Ok((name, options.iter().map(value).collect::<Result<_>>()?))
}

/// Reads a file of users.
fn read_users(value: &DeValue<'_>, files: &mut BTreeSet<PathBuf>) -> Result<OptionValue> {
    let path = PathBuf::from(toml_scalar(value)?);
    if !path.is_absolute() {
        bail!("{} is no absolute path", path.display());
    }
    files.insert(path.clone());
    let cause = || format!("cannot read {}", path.display());
    let content = Zeroizing::new(fs::read_to_string(&path).with_context(cause)?);
    let users = Users::parse_file(&content).with_context(cause)?;
    Ok(users.into_value())
}

/// Parses an option of a policy as the label of the same name.
fn parse_option(name: &str, value: &DeValue<'_>) -> Result<OptionValue> {
    let text = option_text(value)?;
    let invalid = |reason| anyhow!("{reason}");
    if let Some((option, tail)) = LabelOption::from_open_name(LabelProtocol::Http, name) {
        return option.parse_open_value(tail, &text).map_err(invalid);
    }
    let options = || {
        let all = LabelOption::of_protocol(LabelProtocol::Http);
        let all = all.filter(|option| option.spec().scope == OptionScope::Port);
        all.filter(|option| !NOT_IN_POLICIES.contains(option))
    };
    let Some(option) = options().find(|option| option.name() == name) else {
        match suggest(name, options().map(LabelOption::name)) {
            Some(near) => bail!("policies have no such option; did you mean {near}?"),
            None => {
                bail!("policies have no such option; docker-balancer labels lists those of ports")
            }
        }
    };
    // Every option of policies has a type of values.
    let parsed = option.parse_value(&text).context("policies have no such option")?;
    let (value, _) = parsed.map_err(invalid)?;
    Ok(match value {
        OptionValue::ForwardAuth(auth) => auth.by_policy().into_value(),
        value => value,
    })
}

fn option_text(value: &DeValue<'_>) -> Result<String> {
    let DeValue::Array(elements) = value else { return toml_scalar(value) };
    let texts = elements.iter().map(|element| toml_scalar(element.get_ref()));
    Ok(texts.collect::<Result<Vec<_>>>()?.join(","))
}

fn parse_requirement(table: &Spanned<DeValue<'_>>) -> Result<Requirement> {
    let DeValue::Table(table) = table.get_ref() else { bail!("write a table [[require]]") };
    let mut requirement = Requirement { hosts: Vec::new(), policies: Vec::new() };
    for (key, value) in table {
        let text = option_text(value.get_ref())?;
        let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
        match key.get_ref().as_ref() {
            "hosts" => {
                let host = |member: &str| {
                    member.parse::<HostMatch>().map_err(|reason| anyhow!("hosts: {reason}"))
                };
                requirement.hosts = members.map(host).collect::<Result<_>>()?;
            }
            "use" => requirement.policies = members.map(str::parse).collect::<Result<_, _>>()?,
            other => bail!("require: there is no {other}; write hosts and use"),
        }
    }
    if requirement.hosts.is_empty() || requirement.policies.is_empty() {
        bail!("require: hosts and use must both have values");
    }
    Ok(requirement)
}

fn check_requirements(book: &PolicyBook) -> Result<()> {
    for name in book.requirements.iter().flat_map(|requirement| &requirement.policies) {
        if !book.policies.contains_key(name) {
            let nearest = suggest(name.as_str(), book.policies.keys().map(PolicyName::as_str));
            let nearest = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            bail!("require: there is no [policy.{name}]{nearest}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PolicyBook> {
        parse_policies(Path::new("settings.toml"), text, &mut BTreeSet::new())
    }

    #[test]
    fn policies_have_options_of_labels() {
        let book = parse(
            r#"
            tls = "on"
            [policy.lan]
            allow = ["10.0.0.0/8", "private"]
            secure_headers = true
            response_header_X-Robots-Tag = "noindex, nofollow"
            maxconn = 20
            [policy.slow]
            rate = "10/m"
            [[require]]
            hosts = ["*.internal.test", "db.test"]
            use = ["lan"]
            "#,
        )
        .unwrap();
        let texts = |name: &str| {
            let text = |value: &OptionValue| format!("{}={value}", value.option().name());
            book.policies[name].iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(
            texts("lan"),
            [
                "allow=10.0.0.0/8,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7,fe80::/10",
                "maxconn=20",
                "response_header_<Name>=x-robots-tag: noindex, nofollow",
                "secure_headers=1",
            ]
        );
        assert_eq!(texts("slow"), ["rate=10/m"]);
        assert_eq!(book.requirements.len(), 1);
    }

    #[test]
    fn users_are_read_from_file() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("staff.htpasswd");
        let settings = folder.path().join("settings.toml");
        let text = format!("[policy.staff]\nusers_file = '{}'\n", users.display());
        fs::write(&settings, text).unwrap();
        let file = PolicyFile { path: settings, must_exist: true };
        let read = |content: &str| {
            fs::write(&users, content).unwrap();
            let (book, files) = file.read_with_files();
            assert_eq!(files, [users.clone()].into());
            book.map(|book| match &book.policies["staff"][..] {
                [OptionValue::Users(users)] => users.names().collect::<Vec<_>>().join(","),
                other => panic!("{other:?}"),
            })
            .map_err(|error| format!("{error:#}"))
        };
        let entry = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        assert_eq!(read(&format!("# staff\nalice:{entry}\nbob:{entry}\n")).unwrap(), "alice,bob");
        let error = read(&format!("alice:{entry}\nbob:hunter2\n")).unwrap_err();
        assert!(
            error.contains("settings.toml:2: policy staff: users_file: cannot read"),
            "{error}"
        );
        assert!(error.contains("line 2 is not NAME:HASH") && !error.contains("hunter2"), "{error}");
        fs::write(&file.path, "[policy.staff]\nusers_file = '/nonexistent/staff'\n").unwrap();
        assert!(format!("{:#}", file.read().unwrap_err()).contains("No such file"));
    }

    #[test]
    fn wrong_policy_is_error_with_its_line() {
        for (text, expected) in [
            (
                "[policy.a]\nalow = 'private'",
                "settings.toml:2: policy a: alow: policies have no such option; did you mean allow?",
            ),
            (
                "[policy.a]\nallow = ['x']",
                "settings.toml:2: policy a: allow: allow: \"x\" is not a network such as 10.0.0.0/8, an address, or private",
            ),
            (
                "[policy.a]\nbind = 80",
                "settings.toml:2: policy a: bind: policies have no such option; docker-balancer labels lists those of ports",
            ),
            (
                "[policy.'a b']\nrate = '1/s'",
                "settings.toml:1: \"a b\" is not a name of 1 to 64 letters, digits, \"-\" and \"_\"",
            ),
            (
                "[policy.a]\nusers = 'alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='\nusers_file = '/x'",
                "settings.toml:1: policy a: write either users or users_file",
            ),
            (
                "[policy.a]\nusers_file = 'staff.htpasswd'",
                "settings.toml:2: policy a: users_file: staff.htpasswd is no absolute path",
            ),
            ("policy = 1", "settings.toml:1: write a table [policy.NAME]"),
            ("[policy]\na = 1", "settings.toml:2: write a table [policy.a]"),
            (
                "[policy.lan]\nallow='private'\n[[require]]\nhosts = ['a.test']\nuse = 'lam'",
                "settings.toml: require: there is no [policy.lam]; did you mean lan?",
            ),
            (
                "[[require]]\nhosts = ['a.test']",
                "settings.toml:1: require: hosts and use must both have values",
            ),
            (
                "[[require]]\nhost = 'a.test'",
                "settings.toml:1: require: there is no host; write hosts and use",
            ),
        ] {
            assert_eq!(format!("{:#}", parse(text).unwrap_err()), expected, "{text}");
        }
    }
}
