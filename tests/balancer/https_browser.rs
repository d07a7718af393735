//! HTTPS in a real browser, which verifies certificates.

use crate::{
    common::{
        self,
        balancer::Balancer,
        browser::{Browser, BrowserOptions},
        certificates::whoami_outcome,
        tls_server::TestCa,
        wait_for,
    },
    https::{Site, https_run, run_command},
    passthrough::passed_run,
};
use std::fs;

/// Chromium tries https for http URLs by itself, as if there were HSTS.
const NO_UPGRADES: &str =
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode,HttpsFirstBalancedModeAutoEnable";

/// Starts a browser for which all names lead to the balancer, and which trusts these CAs.
fn start_browser(balancer: &Balancer, cas: &[&str]) -> Option<Browser> {
    let rule = |public: u16| format!("MAP *:{public} 127.0.0.1:{}", balancer.bound_port(public));
    let rules = format!("--host-resolver-rules={},{}", rule(80), rule(443));
    let cas = cas.iter().map(ToString::to_string).collect();
    Browser::start_with(&BrowserOptions { arguments: vec![rules, NO_UPGRADES.to_owned()], cas })
}

/// Opens a page. Returns its outcome: `URL: NAME saw PATH`.
fn open(browser: &Browser, url: &str) -> String {
    goto(browser, url);
    let script = "return [location.href, document.body.innerText]";
    let page = browser.run_script(script);
    let text = |index: usize| page[index].as_str().unwrap().to_owned();
    format!("{}: {}", text(0), whoami_outcome(&text(1)))
}

/// Opens a page. Chromium closes all connections when a network interface comes or goes, such as that of a container of
/// another test.
fn goto(browser: &Browser, url: &str) {
    wait_for(url, || {
        browser.goto(url);
        let page = browser.source();
        let is_cut = ["ERR_NETWORK_CHANGED", "ERR_INTERNET_DISCONNECTED"];
        (!is_cut.iter().any(|error| page.contains(error))).then_some(())
    });
}

/// Returns the protocol of the page: `http/1.1` or `h2`.
fn protocol_of(browser: &Browser) -> String {
    let script = "return performance.getEntriesByType('navigation')[0].nextHopProtocol";
    browser.run_script(script).as_str().unwrap().to_owned()
}

#[test]
fn browser_is_redirected_and_speaks_http2_and_websocket() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--access-log", "stdout"]);
    let _container = https_run(&plan, "a", "a.test").start();
    let balancer = plan.start().wait_until_started();
    let Some(browser) = start_browser(&balancer, &[&site.ca.pem()]) else { return };

    assert_eq!(open(&browser, "http://a.test/x"), "https://a.test/x: a saw /x");
    assert_eq!(protocol_of(&browser), "h2");
    browser.run_script(
        "const connect = () => {
            const socket = new WebSocket('wss://a.test/ws');
            socket.onmessage = event => window.received = event.data;
            socket.onclose = connect;
        };
        connect()",
    );
    browser.wait_until("window.received === 'name: a'");

    // The browser verifies: without the CA, it shows a warning.
    let Some(stranger) = start_browser(&balancer, &[]) else { return };
    goto(&stranger, "https://a.test/x");
    let page = stranger.source();
    assert!(page.contains("ERR_CERT_AUTHORITY_INVALID"), "{page}");
}

/// Both hosts serve plain HTTP, too, so only the browser can be the cause of a change to HTTPS.
#[test]
fn browser_uses_only_https_after_hsts() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("wild.pem", &["*.shop.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let run = |host: &str, more: &str| {
        let labels = format!("glue_http_80_host={host}.shop.test glue_http_80_tls=both {more}");
        plan.run(host).labels(&labels)
    };
    let _containers =
        common::start_all(vec![run("hsts", "glue_http_80_hsts=180d"), run("none", "")]);
    let balancer = plan.start().wait_until_started();
    let Some(browser) = start_browser(&balancer, &[&site.ca.pem()]) else { return };
    for (url, expected) in [
        ("http://hsts.shop.test/", "http://hsts.shop.test/: hsts saw /"),
        ("https://hsts.shop.test/", "https://hsts.shop.test/: hsts saw /"),
        ("http://hsts.shop.test/", "https://hsts.shop.test/: hsts saw /"),
        ("https://none.shop.test/", "https://none.shop.test/: none saw /"),
        ("http://none.shop.test/", "http://none.shop.test/: none saw /"),
    ] {
        assert_eq!(open(&browser, url), expected, "{url}");
    }
    let log = browser.drain_log("performance");
    let network: Vec<_> = log.iter().map(ToString::to_string).collect();
    let is_internal =
        |line: &&String| line.contains("Non-Authoritative-Reason") && line.contains("HSTS");
    assert!(network.iter().any(|line| is_internal(&line)), "{network:#?}");
}

/// Browsers send requests for several hosts of a certificate over one connection.
#[test]
fn browser_opens_another_connection_for_host_with_own_tls_options() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("wild.pem", &["*.shop.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--access-log", "stdout"]);
    let modern = https_run(&plan, "modern", "modern.shop.test");
    let _containers = common::start_all(vec![
        https_run(&plan, "first", "first.shop.test"),
        https_run(&plan, "second", "second.shop.test"),
        modern.label("glue_http_80_tls_policy", "modern"),
    ]);
    let balancer = plan.start().wait_until_started();
    // A change of the network closes the connection, see `goto`. Then the next host gets another one.
    let mut ports = Vec::new();
    for attempt in 0..ATTEMPTS {
        let Some(browser) = start_browser(&balancer, &[&site.ca.pem()]) else { return };
        let url = "https://first.shop.test/";
        assert_eq!(open(&browser, url), format!("{url}: first saw /"));
        browser.run_script(&FETCH_ALL.replace("PATH", &attempt.to_string()));
        browser.wait_until("window.done");
        let path = attempt.to_string();
        let logged = |(host, status)| client_port(&balancer.stdout(), host, &path, status);
        ports =
            [("first", 200), ("second", 200), ("modern", 421), ("modern", 200)].map(logged).into();
        if ports.iter().all(Option::is_some) && ports[..3].iter().all(|port| *port == ports[0]) {
            assert_ne!(ports[3], ports[0]);
            let url = "https://modern.shop.test/";
            assert_eq!(open(&browser, url), format!("{url}: modern saw /"));
            return;
        }
    }
    panic!("no connection for all hosts, and another for the last one: {ports:?}");
}

/// Requests a path of each host, one after the other, with the connections of pages.
const FETCH_ALL: &str = "
    const fetchAll = async () => {
        for (const host of ['first', 'second', 'modern']) {
            const options = { mode: 'no-cors', credentials: 'include' };
            await fetch(`https://${host}.shop.test/PATH`, options);
        }
    };
    fetchAll().catch(error => console.log(error)).finally(() => window.done = true)";

/// The certificate of the decrypted host covers the passed ones, so the browser sends their requests over the same
/// connection, gets 421, and then opens one that is passed through.
#[test]
fn browser_opens_another_connection_for_host_that_is_passed_through() {
    let Some(docker) = common::find_docker() else { return };
    let (site, ca) = (Site::new(), TestCa::new("containers"));
    site.issue("wild.pem", &["*.shop.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--access-log", "stdout"]);
    let passed = passed_run(plan.run("passed"), &ca, "*.shop.test", "*.shop.test");
    let _containers = common::start_all(vec![https_run(&plan, "first", "first.shop.test"), passed]);
    let balancer = plan.start().wait_until_started();
    let mut ports = Vec::new();
    for attempt in 0..ATTEMPTS {
        let cas = [site.ca.pem(), ca.pem.clone()];
        let Some(browser) = start_browser(&balancer, &[&cas[0], &cas[1]]) else { return };
        let (first, other) = ("https://first.shop.test", "https://other.shop.test");
        assert_eq!(
            open(&browser, &format!("{first}/{attempt}")),
            format!("{first}/{attempt}: first saw /{attempt}")
        );
        assert_eq!(
            open(&browser, &format!("{other}/{attempt}")),
            format!("{other}/{attempt}: http/1.1/other.shop.test saw /{attempt}")
        );
        let path = attempt.to_string();
        let logged = |(host, status)| client_port(&balancer.stdout(), host, &path, status);
        ports = [("first", 200), ("other", 421)].map(logged).into();
        if ports.iter().all(Option::is_some) && ports[0] == ports[1] {
            return;
        }
    }
    panic!("no request for the passed host over the other connection: {ports:?}");
}

/// Browsers that are started until one keeps a connection.
const ATTEMPTS: usize = 10;

/// Returns the client's address and port, which the requests of one connection share, from HAProxy's log.
fn client_port(log: &str, host: &str, path: &str, status: u16) -> Option<String> {
    let (url, status) = (format!("GET https://{host}.shop.test/{path} "), format!(" {status} "));
    let line = log.lines().find(|line| line.contains(&url) && line.contains(&status))?;
    line.split(' ').next().map(str::to_owned)
}

#[test]
fn browser_with_own_ca_trusts_its_certificates() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let plan = Balancer::plan(&docker).ports(&[80, 443]);
    let labels = "glue_http_80_host=nas.lan glue_http_80_tls=on glue_http_80_cert=self";
    let _container = plan.run("nas").labels(labels).start();
    let balancer = plan.start().wait_until_started();
    let ca = wait_for("the CA", || {
        let (status, text) = run_command(&balancer, &["certificate", "ca"]);
        (status == Some(0)).then_some(text)
    });
    fs::write(site.ca_file(), &ca).unwrap();
    site.wait_until(&balancer, "https://nas.lan/", "nas saw /");
    let Some(browser) = start_browser(&balancer, &[&ca]) else { return };
    assert_eq!(open(&browser, "http://nas.lan/x"), "https://nas.lan/x: nas saw /x");
    assert_eq!(protocol_of(&browser), "h2");
}
