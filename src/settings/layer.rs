//! Layers of options: flags override the environment, which overrides the settings file, which overrides defaults.
//! Each layer is turned into arguments, so that one parser reads all of them and an option is declared once.

use super::{HostEnv, SettingsError, SettingsNote, SourceOption, policies, value};
use crate::{
    settings::options::{DAEMON_OPTIONS, Program, Switches, share_options},
    support::suggest::{find_nearest, suggest},
};
use anyhow::{Context, Error, Result, anyhow, bail};
use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Subcommand,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

pub(super) const DEFAULT_FILE: &str = "/etc/docker-glue/settings.toml";

/// Reads all layers. The subcommand comes from the command line only.
pub(super) fn load_options<P: Program>(
    args: &[OsString],
    machine: &HostEnv,
) -> Result<(P, Option<P::Subcommand>), SettingsError> {
    P::command_line().try_get_matches_from(args).map_err(explain_misplaced::<P>)?;
    let parser = share_options(P::Subcommand::augment_subcommands(parser_without_defaults::<P>()));
    let flags = parser.try_get_matches_from(args)?;
    let verb = flags.subcommand_name();
    if let Some(verb) = verb
        && (flags.get_flag("once") || flags.get_flag("watch"))
    {
        let text = format!("{verb} runs once and exits; remove --watch and --once");
        return Err(P::command_line().error(ErrorKind::ArgumentConflict, text).into());
    }
    let environment = parse_layer::<P>(&environment_options::<P>(machine))?;
    let file = parse_layer::<P>(&file_options::<P>(&[&flags, &environment])?)?;
    let mut options = P::try_parse_from([P::NAME])?;
    for layer in [&file, &environment, &flags] {
        overlay_options(&mut options, layer)?;
    }
    let verb = verb.map(|_| P::Subcommand::from_arg_matches(&flags)).transpose()?;
    Ok((options, verb))
}

/// Improves the error for an option of the program that was given after the command, where it is unknown: the message
/// says that it belongs before the command, or that no command uses it.
fn explain_misplaced<P: Program>(mut error: clap::Error) -> clap::Error {
    let program = P::command();
    let is_the_programs = |written: &str| {
        let long = written.strip_prefix("--");
        long.is_some_and(|text| program.get_arguments().any(|arg| arg.get_long() == Some(text)))
    };
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(written))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
        && is_the_programs(written)
    {
        let id = written.trim_start_matches('-').replace('-', "_");
        let tip = if DAEMON_OPTIONS.contains(&id.as_str()) {
            format!("only the {} that runs uses {written}; remove it here", P::NAME)
        } else {
            format!("{written} must be given before the command: {} {written} … COMMAND", P::NAME)
        };
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Parses options from keys and values only, each with its location, as in an ini file.
pub(super) fn options_from_raw<P: Program>(raw: &[RawOption]) -> Result<P> {
    let mut options = P::try_parse_from([P::NAME])?;
    overlay_options(&mut options, &parse_layer::<P>(raw)?)?;
    Ok(options)
}

/// Returns the name of the environment variable of an option.
pub fn env_variable(key: &str) -> String {
    format!("DOCKER_GLUE_{}", key.to_uppercase())
}

/// An option as a layer contains it.
pub(super) struct RawOption {
    key: String,
    /// Where the layer contains it, for error messages.
    location: String,
    values: Vec<String>,
}

impl RawOption {
    /// Parses an option of the program; lists are comma-separated.
    ///
    /// # Errors
    /// If the program has no such option; the message suggests the nearest one.
    pub(super) fn new<P: Program>(key: &str, value: &str, location: String) -> Result<Self> {
        let (parser, key) = (parser_without_defaults::<P>(), key.replace('-', "_"));
        let Some(action) = option_action(&parser, &key) else {
            bail!("{location}: {}", unknown_option_message(&parser, &key))
        };
        let values = split_value(action, value);
        Ok(Self { key, location, values })
    }
}

/// The parser without defaults: an option that a layer does not set is absent.
fn parser_without_defaults<P: CommandFactory>() -> Command {
    P::command().mut_args(|arg| arg.default_value(Resettable::Reset))
}

/// Replaces the options that the layer sets. Switches that exclude each other are replaced together: `--watch` also
/// overrides the `once` of a file.
fn overlay_options<P: Program>(options: &mut P, layer: &ArgMatches) -> Result<(), clap::Error> {
    let before = options.switches();
    options.update_from_arg_matches(layer)?;
    let mut after = options.switches();
    if !after.once && !after.watch {
        after = Switches { once: before.once, watch: before.watch, ..after };
    }
    if after.verbose == 0 && !after.quiet {
        after = Switches { verbose: before.verbose, quiet: before.quiet, ..after };
    }
    options.set_switches(after);
    Ok(())
}

fn parse_layer<P: Program>(layer: &[RawOption]) -> Result<ArgMatches> {
    let parser = parser_without_defaults::<P>();
    let mut args = vec![String::new()];
    for raw in layer {
        let words = option_arguments(&parser, raw).with_context(|| raw.location.clone())?;
        let single = [String::new()].iter().chain(&words).cloned().collect::<Vec<_>>();
        if let Err(error) = parser.clone().try_get_matches_from(single) {
            return Err(parser_reason(&error)).with_context(|| raw.location.clone());
        }
        args.extend(words);
    }
    Ok(parser.try_get_matches_from(args)?)
}

/// Returns the option as command-line arguments.
fn option_arguments(parser: &Command, raw: &RawOption) -> Result<Vec<String>> {
    let flag = format!("--{}", raw.key.replace('_', "-"));
    let valued = raw.values.iter().map(|value| format!("{flag}={value}"));
    match (option_action(parser, &raw.key), raw.values.as_slice()) {
        (Some(ArgAction::SetTrue), [value]) => {
            let on = value::parse_bool(value).map_err(Error::msg)?;
            Ok(if on { vec![flag] } else { Vec::new() })
        }
        (Some(ArgAction::Count), [value]) => {
            let times =
                value.parse::<u8>().context("the value must be a whole number such as 2")?;
            Ok(vec![flag; times.into()])
        }
        (Some(ArgAction::Append), _) | (_, [_]) => Ok(valued.collect()),
        _ => bail!("the option takes one value, not a list"),
    }
}

fn option_action<'a>(parser: &'a Command, key: &str) -> Option<&'a ArgAction> {
    let mut args = parser.get_arguments();
    args.find(|arg| option_keys(arg).any(|name| name == key)).map(Arg::get_action)
}

/// Returns the key of an option, then the keys that it had before: its aliases.
fn option_keys(arg: &Arg) -> impl Iterator<Item = String> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let former = aliases.into_iter().map(|name| name.replace('-', "_"));
    std::iter::once(arg.get_id().to_string()).chain(former)
}

/// Returns the parser's message without the flag, which the user did not write, and without the hint after it.
fn parser_reason(error: &clap::Error) -> Error {
    let message = error.to_string();
    let first = message.split("\n\n").next().unwrap_or_default();
    let words =
        first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    match words.split_once(" for '--").map(|(before, after)| (before, after.split_once('\''))) {
        Some((before, Some((_, after)))) => anyhow!("{before}{after}"),
        _ => anyhow!(words),
    }
}

/// An empty variable counts as unset, so that `${HOLD:-}` in a compose file works.
fn environment_options<P: Program>(machine: &HostEnv) -> Vec<RawOption> {
    let parser = parser_without_defaults::<P>();
    let raw = |arg: &Arg| {
        option_keys(arg).find_map(|key| {
            let location = env_variable(&key);
            let value = machine.env.get(&location).filter(|value| !value.is_empty())?;
            let values = split_value(arg.get_action(), value);
            Some(RawOption { key, location, values })
        })
    };
    parser.get_arguments().filter_map(raw).collect()
}

/// Prefixes that users write by mistake instead of `DOCKER_GLUE_`.
const SIMILAR_PREFIXES: [&str; 5] =
    ["DOCKER_GLUE_", "DOCKER_BALANCER_", "DOCKERGLUE_", "DOCKER_GLUE", "DOCKER_HAPROXY_"];

/// Returns a note for each variable that looks like an option but is an option of neither program.
pub(super) fn unknown_variables<P: Program>(machine: &HostEnv) -> Vec<SettingsNote> {
    let (parser, other) =
        (parser_without_defaults::<P>(), parser_without_defaults::<P::OtherProgram>());
    let all = parser.get_arguments().chain(other.get_arguments());
    let keys: Vec<_> = all.flat_map(option_keys).map(|key| env_variable(&key)).collect();
    let note = |name: &String| {
        let typed = name.to_uppercase().replace(['-', '.'], "_");
        let (start, suffix) =
            SIMILAR_PREFIXES.iter().find_map(|start| Some((*start, typed.strip_prefix(start)?)))?;
        if suffix.is_empty() || keys.contains(name) {
            return None;
        }
        let suffixes = keys.iter().filter_map(|key| key.strip_prefix("DOCKER_GLUE_"));
        let near = find_nearest(suffix.trim_start_matches('_'), suffixes);
        let near = near.map(|suffix| format!("DOCKER_GLUE_{suffix}"));
        if start != "DOCKER_GLUE_" && near.is_none() {
            return None;
        }
        Some(SettingsNote::UnknownVariable { name: name.clone(), near })
    };
    machine.env.keys().filter_map(note).collect()
}

fn split_value(action: &ArgAction, value: &str) -> Vec<String> {
    match action {
        ArgAction::Append => value.split(',').map(|piece| piece.trim().to_owned()).collect(),
        _ => vec![value.to_owned()],
    }
}

/// Reads the file that the strongest layer names. A file that is named must exist.
fn file_options<P: Program>(layers: &[&ArgMatches]) -> Result<Vec<RawOption>> {
    let named = layers.iter().find_map(|layer| layer.get_one::<PathBuf>("settings"));
    let path = named.map_or(Path::new(DEFAULT_FILE), PathBuf::as_path);
    match std::fs::read_to_string(path) {
        Ok(text) => parse_file::<P>(path, &text),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Both programs read the same file, so options that only the other program has are skipped.
fn parse_file<P: Program>(path: &Path, text: &str) -> Result<Vec<RawOption>> {
    let (parser, other) =
        (parser_without_defaults::<P>(), parser_without_defaults::<P::OtherProgram>());
    let line = |at: usize| 1 + text[..at].matches('\n').count();
    let at = |at: usize| format!("{}:{}", path.display(), line(at));
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        anyhow!("{}: {}", at(start), error.message())
    })?;
    let raw = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let (start, key) = (key.span().start, key.get_ref().as_ref());
        if policies::TABLES.contains(&key) {
            return Ok(None);
        }
        let action_of_key = option_action(&parser, key).filter(|_| key != "settings");
        let Some(action) = action_of_key else {
            if option_action(&other, key).is_some() && key != "settings" {
                return Ok(None);
            }
            bail!("{}: {}", at(start), unknown_option_message(&parser, key));
        };
        let location = format!("{}: {key}", at(start));
        let values = match (key, value.get_ref()) {
            ("source", DeValue::Array(tables)) => source_texts(tables),
            (_, value) => toml_values(action, value),
        };
        let values = values.with_context(|| location.clone())?;
        Ok(Some(RawOption { key: key.to_owned(), location, values }))
    };
    table.get_ref().iter().filter_map(|entry| raw(entry).transpose()).collect()
}

/// Elements of an array are taken literally: a comma in them does not separate values.
fn toml_values(action: &ArgAction, value: &DeValue<'_>) -> Result<Vec<String>> {
    match value {
        DeValue::String(text) => Ok(split_value(action, text)),
        DeValue::Array(elements) => {
            elements.iter().map(|element| toml_scalar(element.get_ref())).collect()
        }
        value => Ok(vec![toml_scalar(value)?]),
    }
}

/// Converts `[[source]]` tables, of which elements may also be written as texts.
fn source_texts(sources: &[Spanned<DeValue<'_>>]) -> Result<Vec<String>> {
    let text = |source: &Spanned<DeValue<'_>>| match source.get_ref() {
        DeValue::Table(table) => SourceOption::text_of_table(table),
        value => toml_scalar(value),
    };
    sources.iter().map(text).collect()
}

pub(super) fn toml_scalar(value: &DeValue<'_>) -> Result<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        _ => bail!("the value must be a text, a number, true, false, or a list of these"),
    }
}

fn unknown_option_message(parser: &Command, key: &str) -> String {
    let keys = parser.get_arguments().map(|arg| arg.get_id().as_str());
    let keys = keys.filter(|key| *key != "settings");
    match suggest(&key.replace('-', "_").to_lowercase(), keys) {
        Some(near) => format!("unknown option {key:?}; did you mean {near}?"),
        None => format!("unknown option {key:?}; --help lists all options, write - as _"),
    }
}
