use crate::udp::{answer::PlaneReport, engine::Engine};

#[test]
fn engine_is_read_as_printed() {
    for (engine, name) in [(Engine::User, "user"), (Engine::Nft, "nft")] {
        assert_eq!((engine.to_string().as_str(), name.parse()), (name, Ok(engine)));
        assert_eq!(serde_json::to_string(&engine).unwrap(), format!("{name:?}"));
    }
    assert!("auto".parse::<Engine>().is_err());
}

#[test]
fn client_address_is_kept_by_nft_alone() {
    let kept = Engine::ALL.iter().filter(|engine| engine.keeps_client_address());
    assert_eq!(kept.collect::<Vec<_>>(), [&Engine::Nft]);
}

#[test]
fn plane_without_engine_is_of_user_space() {
    let plane: PlaneReport = serde_json::from_str(r#"{"protocol":1,"pid":7}"#).unwrap();
    assert_eq!((plane.pid, plane.engine), (7, Engine::User));
}
