//! The rule in Docker's firewall.

use super::program::{ProgramError, run};
use crate::udp::nft::{
    Family,
    firewall::{CHAIN, drops_forwarded, has_chain, internal_networks, rule_arguments},
};
use ipnet::IpNet;
use tracing::info;

/// How often the rule is deleted, until it is gone: the kernel refuses a change that another program's change overtakes,
/// and each deletion removes one rule of several that are equal.
const DELETE_ATTEMPTS: usize = 5;

/// The status of `iptables -C` if there is no such rule or no such chain. Others are failures of the program: 2 for
/// its arguments, 3 for its version, 4 for a lack of resources (`enum xtables_exittype` of iptables' sources).
const STATUS_MISSING: i32 = 1;

/// Makes Docker's firewall accept translated datagrams. Returns the networks that Docker closes.
///
/// # Errors
/// If it cannot, with the remedy.
pub(super) async fn open_firewall() -> Result<Vec<IpNet>, String> {
    let mut internal = open_family(Family::Four).await?;
    internal.extend(open_family(Family::Six).await?);
    Ok(internal)
}

async fn open_family(family: Family) -> Result<Vec<IpNet>, String> {
    let program = program(family);
    let listing = match run(program, &["-w".into(), "5".into(), "-S".into()], "").await {
        Ok(listing) => listing,
        // A machine without IPv6.
        Err(ProgramError::Failed { .. }) if family == Family::Six => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    if has_chain(&listing) {
        insert_rule(program).await.map_err(|error| error.to_string())?;
        return Ok(internal_networks(&listing));
    }
    // Docker manages the firewall of IPv6 only if it is set to.
    if family == Family::Four || drops_forwarded(&listing) {
        return Err(format!(
            "there is no chain {CHAIN} of {program}, so Docker's firewall would drop the datagrams: start Docker with \
             its iptables firewall (`systemctl start docker`), or use --engine user"
        ));
    }
    Ok(Vec::new())
}

async fn insert_rule(program: &'static str) -> Result<(), ProgramError> {
    if has_rule(program).await? {
        return Ok(());
    }
    run(program, &rule_arguments("-I"), "").await?;
    info!("inserted the rule that accepts datagrams of this program into {CHAIN} of {program}");
    Ok(())
}

async fn has_rule(program: &'static str) -> Result<bool, ProgramError> {
    match run(program, &rule_arguments("-C"), "").await {
        Ok(_) => Ok(true),
        Err(ProgramError::Failed { status: Some(STATUS_MISSING), .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes the rule. Returns the errors of programs; that it does not exist is none.
pub(super) async fn close_firewall() -> Vec<ProgramError> {
    let mut errors = Vec::new();
    for family in [Family::Four, Family::Six] {
        match delete_rule(program(family)).await {
            Ok(()) | Err(ProgramError::Missing { .. }) => {}
            // A machine without IPv6.
            Err(ProgramError::Failed { .. }) if family == Family::Six => {}
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Deletes the rule as often as it exists.
async fn delete_rule(program: &'static str) -> Result<(), ProgramError> {
    let mut last = Ok(());
    for _ in 0..DELETE_ATTEMPTS {
        last = match has_rule(program).await {
            Ok(false) => return Ok(()),
            Ok(true) => run(program, &rule_arguments("-D"), "").await.map(drop),
            Err(error) => Err(error),
        };
        if matches!(last, Err(ProgramError::Missing { .. } | ProgramError::Permission { .. })) {
            break;
        }
    }
    last
}

fn program(family: Family) -> &'static str {
    match family {
        Family::Four => "iptables",
        Family::Six => "ip6tables",
    }
}
