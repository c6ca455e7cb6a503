//! The page of a bundle of evidence, opened from a disk as an auditor does: nothing in it runs, and everybody can read it.

use super::looks::faults;
use crate::evidence::story;
use chaperone_tests::browser::Browser;
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::tools;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_bundle_runs_nothing_and_is_accessible_on_every_screen() {
    let (Some(tools), Some(modules)) = (tools::browser(), tools::node_modules()) else { return };
    let axe = std::fs::read_to_string(modules.join("axe-core/axe.min.js")).unwrap();
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    story(&stage).await;
    let out = stage.path("evidence").display().to_string();
    stage.chaperone("", &["export", "--from", "2026-01-01", "--out", &out]).unwrap().success().unwrap();
    stage.stop().await;
    let browser = Browser::start(&tools).await.unwrap();
    let (mut wrong, mut grounds) = (Vec::new(), Vec::new());
    for scheme in ["light", "dark"] {
        browser.prefers(scheme, "no-preference").await.unwrap();
        for width in [1280, 320] {
            browser.screen(width, 900).await.unwrap();
            browser.open(&format!("file://{out}/summary.html")).await.unwrap();
            let over = "return document.documentElement.scrollWidth - window.innerWidth";
            let over = browser.script(over).await.unwrap().as_i64().unwrap();
            if over > 0 {
                wrong.push(format!("{scheme} {width}: {over} px too wide"));
            }
            let found = faults(&browser, &axe).await;
            wrong.extend(found.into_iter().map(|fault| format!("{scheme} {width}: {fault}")));
        }
        grounds.push(browser.script("return getComputedStyle(document.body).backgroundColor").await.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_ne!(grounds[0], grounds[1], "the style sheet is not the one that the page allows");
    // Its own policy holds: what somebody put into it later would not run either.
    assert_eq!(browser.script("return document.scripts.length").await.unwrap(), 0);
    let put = "const one = document.createElement('script'); one.textContent = 'document.title = \"owned\"'; \
               document.body.append(one); \
               const two = document.createElement('img'); two.src = 'recordings/none.png'; document.body.append(two); \
               return document.title";
    let title = browser.script(put).await.unwrap();
    assert_eq!(title, "Evidence: 5 recordings");
    let complaints = browser.complaints().await.unwrap().join("\n");
    assert!(complaints.contains("script-src") || complaints.contains("default-src 'none'"), "{complaints}");
    assert!(browser.text().await.unwrap().contains("<script>alert(1)</script>"));
}
