//! PostgreSQL with direct TLS, as clients of version 17 and later use it: the name at the beginning of the connection
//! selects the database.

use super::{
    NEXT_SERVERS,
    database::{POSTGRES, Session, client_container},
    docker_and_image,
};
use crate::common::{
    balancer::{Balancer, BalancerPlan},
    tls_server::TestCa,
    wait_for,
};
use std::fs;

const PORT: u16 = 5432;

/// Starts a database with a certificate for its name.
fn start_database(
    plan: &BalancerPlan,
    image: &str,
    ca: &TestCa,
    host: &str,
) -> crate::common::Container {
    let folder = plan.state().with_file_name(host);
    fs::create_dir_all(&folder).unwrap();
    let issued = ca.issue(host);
    fs::write(folder.join("server.pem"), &issued.pem).unwrap();
    fs::write(folder.join("server.key"), &issued.key).unwrap();
    // PostgreSQL wants a key that only its user can read.
    let key = "/var/lib/postgresql/server.key";
    let server = POSTGRES.map(|word| format!("'{word}'")).join(" ");
    let script = format!(
        "cp /certificate/server.key {key} && chown postgres {key} && chmod 600 {key} && \
         exec chroot --userspec=postgres:postgres / {server} -ccluster_name={host} -cssl=on \
         -cssl_cert_file=/certificate/server.pem -cssl_key_file={key}"
    );
    let volume = format!("{}:/certificate:ro", folder.display());
    let run = plan.run(host).image(image).option(&["--volume", &volume]);
    let run = run.labels(&format!("glue_tcp_5432_bind={PORT} glue_tcp_5432_host={host}"));
    run.arguments(&["sh", "-c", &script]).start()
}

#[test]
#[ignore = "downloads another release of PostgreSQL: make servers"]
fn direct_tls_selects_database_by_name() {
    let Some((docker, image)) = docker_and_image(NEXT_SERVERS) else { return };
    let ca = TestCa::new("databases");
    let plan = Balancer::plan(&docker).ports(&[80, PORT]);
    let hosts = ["orders.db.test", "stock.db.test"];
    let _databases = hosts.map(|host| start_database(&plan, &image, &ca, host));
    let balancer = plan.start().wait_until_started();
    let client = client_container(&docker, &image);
    let open = |host: &str, options: &str| {
        // `host` is the name that is sent and verified, `hostaddr` the address.
        let server = format!("host={host} hostaddr=127.0.0.1 port={}", balancer.bound_port(PORT));
        let conninfo = format!("{server} user=postgres sslnegotiation=direct {options}");
        Session::open(&docker, &client, &conninfo).try_query("SHOW cluster_name")
    };
    for host in hosts {
        let name = wait_for(host, || open(host, "sslmode=require"));
        assert_eq!(name, host);
    }
    assert_eq!(open("other.db.test", "sslmode=require"), None);
}
