//! Writes what is packaged next to the programs into a folder: man pages, shell completions, the licences of what is linked into
//! them, and the settings file. Run at the root of the tree.

mod files;
mod notices;
mod settings;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use docker_glue::settings::options::{self, Program, glue, udp};
use std::{fs, path::Path};

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: docker-glue-docs FOLDER")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder.join("man"))?;
    let programs =
        [options::Options::command_line(), glue::GlueOptions::command_line(), udp::udp_command()];
    for command in programs {
        let name = command.get_name().to_owned();
        for shell in SHELLS {
            generate_to(shell, &mut command.clone(), &name, folder)?;
        }
        man(&folder.join("man"), command)?;
    }
    fs::write(folder.join("third-party-notices.txt"), notices::notices(Path::new("."))?)?;
    let example = fs::read_to_string("examples/settings.toml").context("examples/settings.toml")?;
    fs::write(folder.join("settings.toml"), settings::packaged(&example)?)?;
    Ok(())
}

/// Returns the command, its subcommands and theirs.
fn with_subcommands(command: &Command) -> Vec<Command> {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    verbs.flat_map(with_subcommands).chain([command.clone()]).collect()
}

/// One page for the program, and one for each of its verbs.
fn man(folder: &Path, mut command: Command) -> Result<()> {
    command.build();
    for verb in with_subcommands(&command) {
        let name = verb.get_display_name().unwrap_or(verb.get_name()).to_owned();
        let mut page = Vec::new();
        Man::new(verb).title(name.to_uppercase()).section("8").render(&mut page)?;
        page.extend(files::section(&name).into_bytes());
        fs::write(folder.join(format!("{name}.8")), page)?;
    }
    Ok(())
}
