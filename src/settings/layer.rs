//! Flags before environment before file before default: each layer becomes arguments, so that one parser
//! reads all of them and an option is declared once.

use super::{Machine, Note, Refusal, value};
use crate::cli::{Program, Switches, with_shared};
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

const HOME: &str = "/etc/docker-glue/settings.toml";

/// The verb is said on the command line alone.
pub(super) fn options<P: Program>(
    args: &[OsString],
    machine: &Machine,
) -> Result<(P, Option<P::Verb>), Refusal> {
    P::command_line().try_get_matches_from(args).map_err(misplaced::<P>)?;
    let parser = with_shared(P::Verb::augment_subcommands(parser::<P>()));
    let flags = parser.try_get_matches_from(args)?;
    let verb = flags.subcommand_name();
    if let Some(verb) = verb
        && (flags.get_flag("once") || flags.get_flag("watch"))
    {
        let text = format!("{verb} does one thing and ends; leave --watch and --once away");
        return Err(P::command_line().error(ErrorKind::ArgumentConflict, text).into());
    }
    let environment = matches::<P>(&environment::<P>(machine))?;
    let file = matches::<P>(&file::<P>(&[&flags, &environment])?)?;
    let mut options = P::try_parse_from([P::NAME])?;
    for layer in [&file, &environment, &flags] {
        overlay(&mut options, layer)?;
    }
    let verb = verb.map(|_| P::Verb::from_arg_matches(&flags)).transpose()?;
    Ok((options, verb))
}

/// Where an option of the program stands after a command, and there is another one of that name or none, says where
/// it belongs.
fn misplaced<P: Program>(mut error: clap::Error) -> clap::Error {
    let program = P::command();
    let is_the_programs = |written: &str| {
        let long = written.strip_prefix("--");
        long.is_some_and(|it| program.get_arguments().any(|arg| arg.get_long() == Some(it)))
    };
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(written))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
        && is_the_programs(written)
    {
        let tip = format!("{written} stands before the command: {} {written} … COMMAND", P::NAME);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// From keys and values alone, as another kind of file has them; each with its place.
pub(super) fn from_said<P: Program>(said: &[Said]) -> Result<P> {
    let mut options = P::try_parse_from([P::NAME])?;
    overlay(&mut options, &matches::<P>(said)?)?;
    Ok(options)
}

/// The variable that an option is in the environment.
pub fn variable(key: &str) -> String {
    format!("DOCKER_GLUE_{}", key.to_uppercase())
}

/// An option as a layer says it.
pub(super) struct Said {
    key: String,
    /// Where it says so, for a complaint.
    place: String,
    values: Vec<String>,
}

impl Said {
    /// As an option of the program; lists are comma-separated.
    ///
    /// # Errors
    /// The program has no such option: says which one may be meant.
    pub(super) fn new<P: Program>(key: &str, value: &str, place: String) -> Result<Self> {
        let (parser, key) = (parser::<P>(), key.replace('-', "_"));
        let Some(action) = action(&parser, &key) else {
            bail!("{place}: {}", unknown(&parser, &key))
        };
        let values = split(action, value);
        Ok(Self { key, place, values })
    }
}

/// Knows no defaults: what a layer does not say is absent.
fn parser<P: CommandFactory>() -> Command {
    P::command().mut_args(|arg| arg.default_value(Resettable::Reset))
}

/// What the layer says replaces what the weaker ones said. Switches that answer one question go together:
/// a `--watch` also outweighs the `once` of a file.
fn overlay<P: Program>(options: &mut P, layer: &ArgMatches) -> Result<(), clap::Error> {
    let before = options.switches();
    options.update_from_arg_matches(layer)?;
    let mut after = options.switches();
    if !after.once && !after.watch {
        after = Switches { once: before.once, watch: before.watch, ..after };
    }
    if after.verbose == 0 && !after.quiet {
        after = Switches { verbose: before.verbose, quiet: before.quiet, ..after };
    }
    options.switch(after);
    Ok(())
}

fn matches<P: Program>(layer: &[Said]) -> Result<ArgMatches> {
    let parser = parser::<P>();
    let mut args = vec![String::new()];
    for said in layer {
        let words = words(&parser, said).with_context(|| said.place.clone())?;
        let alone = [String::new()].iter().chain(&words).cloned().collect::<Vec<_>>();
        if let Err(error) = parser.clone().try_get_matches_from(alone) {
            return Err(reason(&error)).with_context(|| said.place.clone());
        }
        args.extend(words);
    }
    Ok(parser.try_get_matches_from(args)?)
}

/// The option as it would stand on the command line.
fn words(parser: &Command, said: &Said) -> Result<Vec<String>> {
    let flag = format!("--{}", said.key.replace('_', "-"));
    let valued = said.values.iter().map(|value| format!("{flag}={value}"));
    match (action(parser, &said.key), said.values.as_slice()) {
        (Some(ArgAction::SetTrue), [value]) => {
            let on = value::switch(value).map_err(Error::msg)?;
            Ok(if on { vec![flag] } else { Vec::new() })
        }
        (Some(ArgAction::Count), [value]) => {
            let times = value.parse::<u8>().context("it is a whole number such as 2")?;
            Ok(vec![flag; times.into()])
        }
        (Some(ArgAction::Append), _) | (_, [_]) => Ok(valued.collect()),
        _ => bail!("it takes one value, not a list"),
    }
}

fn action<'a>(parser: &'a Command, key: &str) -> Option<&'a ArgAction> {
    parser.get_arguments().find(|arg| arg.get_id() == key).map(Arg::get_action)
}

/// The sentence of the parser, without the flag that nobody wrote and the hint that follows.
fn reason(error: &clap::Error) -> Error {
    let told = error.to_string();
    let first = told.split("\n\n").next().unwrap_or_default();
    let words =
        first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    match words.split_once(" for '--").map(|(before, after)| (before, after.split_once('\''))) {
        Some((before, Some((_, after)))) => anyhow!("{before}{after}"),
        _ => anyhow!(words),
    }
}

/// An empty variable says nothing, so that `${HOLD:-}` of a compose file works.
fn environment<P: Program>(machine: &Machine) -> Vec<Said> {
    let parser = parser::<P>();
    let said = |arg: &Arg| {
        let key = arg.get_id().to_string();
        let place = variable(&key);
        let value = machine.env.get(&place).filter(|value| !value.is_empty())?;
        let values = split(arg.get_action(), value);
        Some(Said { key, place, values })
    };
    parser.get_arguments().filter_map(said).collect()
}

/// How people write `DOCKER_GLUE_` who remember it by half.
const LIKE_OURS: [&str; 5] =
    ["DOCKER_GLUE_", "DOCKER_BALANCER_", "DOCKERGLUE_", "DOCKER_GLUE", "DOCKER_HAPROXY_"];

/// Variables that were meant to be options, and are none of either program.
pub(super) fn strange_variables<P: Program>(machine: &Machine) -> Vec<Note> {
    let (parser, other) = (parser::<P>(), parser::<P::Other>());
    let all = parser.get_arguments().chain(other.get_arguments());
    let keys: Vec<_> = all.map(|arg| variable(arg.get_id().as_str())).collect();
    let note = |name: &String| {
        let typed = name.to_uppercase().replace(['-', '.'], "_");
        let (start, rest) =
            LIKE_OURS.iter().find_map(|start| Some((*start, typed.strip_prefix(start)?)))?;
        if rest.is_empty() || keys.contains(name) {
            return None;
        }
        let meant = format!("DOCKER_GLUE_{}", rest.trim_start_matches('_'));
        let likeness = |known: &String| (strsim::jaro_winkler(known, &meant), known.clone());
        let near = keys.iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b));
        // They all begin alike, which makes any two of them alike.
        let near = near.filter(|(likeness, _)| 0.95 < *likeness).map(|(_, near)| near);
        if start != "DOCKER_GLUE_" && near.is_none() {
            return None;
        }
        Some(Note::UnknownVariable { name: name.clone(), near })
    };
    machine.env.keys().filter_map(note).collect()
}

fn split(action: &ArgAction, value: &str) -> Vec<String> {
    match action {
        ArgAction::Append => value.split(',').map(|piece| piece.trim().to_owned()).collect(),
        _ => vec![value.to_owned()],
    }
}

/// The strongest layer that names a file decides which; one that is named must be there.
fn file<P: Program>(layers: &[&ArgMatches]) -> Result<Vec<Said>> {
    let named = layers.iter().find_map(|layer| layer.get_one::<PathBuf>("settings"));
    let path = named.map_or(Path::new(HOME), PathBuf::as_path);
    match std::fs::read_to_string(path) {
        Ok(text) => keys::<P>(path, &text),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Both programs read the same file: what only the other one knows is left to it.
fn keys<P: Program>(path: &Path, text: &str) -> Result<Vec<Said>> {
    let (parser, other) = (parser::<P>(), parser::<P::Other>());
    let line = |at: usize| 1 + text[..at].matches('\n').count();
    let at = |at: usize| format!("{}:{}", path.display(), line(at));
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        anyhow!("{}: {}", at(start), error.message())
    })?;
    let said = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let (start, key) = (key.span().start, key.get_ref().as_ref());
        let known = action(&parser, key).filter(|_| key != "settings");
        let Some(action) = known else {
            if action(&other, key).is_some() && key != "settings" {
                return Ok(None);
            }
            bail!("{}: {}", at(start), unknown(&parser, key));
        };
        let place = format!("{}: {key}", at(start));
        let values = values(action, value.get_ref()).with_context(|| place.clone())?;
        Ok(Some(Said { key: key.to_owned(), place, values }))
    };
    table.get_ref().iter().filter_map(|entry| said(entry).transpose()).collect()
}

/// Elements of an array are taken as they are: a comma in them stays.
fn values(action: &ArgAction, value: &DeValue<'_>) -> Result<Vec<String>> {
    match value {
        DeValue::String(text) => Ok(split(action, text)),
        DeValue::Array(elements) => {
            elements.iter().map(|element| scalar(element.get_ref())).collect()
        }
        value => Ok(vec![scalar(value)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        _ => bail!("it is a text, a number, true or false, or a list of those"),
    }
}

fn unknown(parser: &Command, key: &str) -> String {
    let keys = parser.get_arguments().map(|arg| arg.get_id().as_str());
    let near = keys
        .filter(|known| *known != "settings")
        .map(|known| (strsim::jaro_winkler(known, &key.replace('-', "_").to_lowercase()), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((likeness, near)) if 0.8 < likeness => {
            format!("no option is called {key:?}; did you mean {near}?")
        }
        _ => format!("no option is called {key:?}; --help lists those there are, write - as _"),
    }
}
