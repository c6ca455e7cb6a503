//! Every page on every screen: on a narrow one and a wide one, in the light and in the dark, and for who cannot see it.

use super::now::{NAME, named, running, stage};
use super::replay::{did, found};
use super::{asked, page, signed_in};
use chaperone_tests::browser::Browser;
use chaperone_tests::tools;

/// The rules of WCAG 2.1 up to AA, and axe-core's own of what is good practice.
const RULES: &str = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }";

/// What axe-core finds wrong: rule, place and why.
pub(super) async fn faults(browser: &Browser, axe: &str) -> Vec<String> {
    browser.script(axe).await.unwrap();
    let script = format!(
        "const found = await axe.run(document, {RULES}); \
         return {{ passed: found.passes.length, wrong: found.violations.flatMap((rule) => \
         rule.nodes.map((node) => `${{rule.id}} at ${{node.target}}: ${{node.failureSummary}}`)) }}"
    );
    let found = browser.promised(&script).await.unwrap();
    assert!(found["passed"].as_u64().unwrap_or_default() > 10, "axe-core looked at little: {found}");
    let wrong = found["wrong"].as_array().unwrap();
    wrong.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_a_narrow_screen_and_is_accessible_in_the_light_and_in_the_dark() {
    let Some((mut stage, tools)) = stage().await else { return };
    // axe-core comes with the other packages of npm; `cargo xtask test` says when these are left out.
    let Some(modules) = tools::node_modules() else { return };
    let axe = std::fs::read_to_string(modules.join("axe-core/axe.min.js")).unwrap();
    let request = asked(&stage, 2);
    let (busy, held) = (named(&stage, 1, NAME), named(&stage, 4, "Incident triage (agent)"));
    let long = "DELETE FROM orders WHERE id = 4 AND 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' <> ''";
    let (one, two) = (running(&stage, &busy, "select pg_sleep(600)"), running(&stage, &held, long));
    let wide = "select *, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' from customers;\ndrop table customers;\n";
    did(&stage, &busy, wide).await;
    let carol = signed_in(&stage, &tools, "Carol", "/now").await;
    found(&carol, &stage, "drop").await;
    let recording = carol.address().await.unwrap().replace(&page(&stage, ""), "");
    carol.open(&page(&stage, "/now")).await.unwrap();
    carol.until("held").await.unwrap();
    carol.until("runs").await.unwrap();
    let href = async |selector: &str| {
        let script = format!("return document.querySelector(\"{selector}\").pathname");
        carol.script(&script).await.unwrap().as_str().unwrap().replace("/console", "")
    };
    let (session, window) = (href("#sessions a.button").await, href("#windows a.button").await);
    let hold = href("#sessions a[href*=approvals]").await;
    let who = format!("test%2F{}%2F{}", chaperone_tests::stage::TENANT, chaperone_tests::stage::object_id(1));
    let explained = format!("/policy?target=shop&who={who}&groups=agents");
    let mut grounds = Vec::new();
    let mut wrong = Vec::new();
    for scheme in ["light", "dark"] {
        carol.prefers(scheme, "no-preference").await.unwrap();
        for path in [
            "/now",
            "/approvals",
            &hold,
            &format!("/approvals/{request}"),
            &session,
            &window,
            "/sessions",
            "/sessions?words=customers&since=1h",
            "/sessions?words=nothing",
            &recording,
            &session.replace("/now", ""),
            &explained,
            "/overview?span=15m",
            "/nothing",
        ] {
            for width in [1280, 320] {
                carol.screen(width, 900).await.unwrap();
                carol.open(&page(&stage, path)).await.unwrap();
                carol
                    .script("document.querySelectorAll('details').forEach((one) => { one.open = true })")
                    .await
                    .unwrap();
                let over = "return document.documentElement.scrollWidth - window.innerWidth";
                let over = carol.script(over).await.unwrap().as_i64().unwrap();
                if over > 0 {
                    let widest = "return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80)).slice(0, 3)";
                    wrong.push(format!(
                        "{scheme} {width} {path}: {over} px too wide: {}",
                        carol.script(widest).await.unwrap()
                    ));
                }
                let found = faults(&carol, &axe).await;
                wrong.extend(found.into_iter().map(|fault| format!("{scheme} {width} {path}: {fault}")));
            }
        }
        grounds.push(carol.script("return getComputedStyle(document.body).backgroundColor").await.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_ne!(grounds[0], grounds[1], "the dark looks like the light");
    // What moves is the mark of a live page, unless the reader wants it still.
    let moves = "return getComputedStyle(document.getElementById('live'), '::before').animationName";
    carol.open(&page(&stage, "/now")).await.unwrap();
    carol.until_there("#live[data-state=on]").await.unwrap();
    for (motion, name) in [("no-preference", "breathe"), ("reduce", "none")] {
        carol.prefers("dark", motion).await.unwrap();
        assert_eq!(carol.script(moves).await.unwrap(), name, "{motion}");
    }
    stage.stop().await;
    assert!(!one.await.unwrap().unwrap().status.success() && !two.await.unwrap().unwrap().status.success());
}
