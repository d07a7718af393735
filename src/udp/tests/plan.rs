use super::listener;
use crate::udp::{
    command::UdpCommand,
    plan::{UdpListeners, plan_udp_commands},
};
use proptest::{collection::btree_map, prelude::*};

/// A plane that does as it is asked, and knows that one port is served by one listener.
fn apply(listeners: &mut UdpListeners, commands: Vec<UdpCommand>) {
    for command in commands {
        match command {
            UdpCommand::Set(listener) => {
                listeners.insert(listener.bind, *listener);
            }
            UdpCommand::Delete(bind) => {
                assert!(listeners.remove(&bind).is_some(), "{bind} is deleted twice");
            }
            UdpCommand::Show | UdpCommand::Totals | UdpCommand::Flows(_) => unreachable!(),
        }
    }
}

fn listeners() -> impl Strategy<Value = UdpListeners> {
    btree_map(1_u16..6, 0_usize..4, 0..6).prop_map(|ports| {
        let endpoints = ["a@10.0.0.1:53", "b@10.0.0.2:53", "c@10.0.0.3:53"];
        let one = |(port, count): (u16, usize)| {
            let listener = listener(&format!("[::]:{port}"), &endpoints[..count]);
            (listener.bind, listener)
        };
        ports.into_iter().map(one).collect()
    })
}

proptest! {
    #[test]
    fn plan_leads_from_any_state_to_any_other(observed in listeners(), desired in listeners()) {
        let mut state = observed.clone();
        apply(&mut state, plan_udp_commands(observed.values(), &desired));
        prop_assert_eq!(&state, &desired);
        prop_assert_eq!(plan_udp_commands(desired.values(), &desired), []);
    }
}

#[test]
fn deletion_precedes_other_commands() {
    let [observed, desired] = ["[::]:53", "0.0.0.0:53"].map(|bind| listener(bind, &[]));
    let commands = plan_udp_commands([&observed], &[(desired.bind, desired.clone())].into());
    let lines: Vec<_> = commands.iter().map(UdpCommand::summary).collect();
    assert_eq!(lines, ["del [::]:53", "set 0.0.0.0:53"]);
}
