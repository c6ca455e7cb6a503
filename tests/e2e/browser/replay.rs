//! Sessions in a browser: found by what was done, replayed as it happened, and verified before one's eyes.

use super::now::{NAME, named, stage, stopped};
use super::{page, signed_in};
use chaperone_tests::browser::{Browser, END, HOME};
use chaperone_tests::stage::Stage;

/// Text that would be a picture, in a title and in a row.
const EVIL: &str = "<img src=x onerror=document.title=1>";

/// What a psql session of this agent does, to its end.
pub(super) async fn did(stage: &Stage, token: &str, script: &str) {
    let (psql, script) = (stage.psql(token).unwrap(), script.to_owned());
    tokio::task::spawn_blocking(move || psql.run(&script)).await.unwrap().unwrap();
}

/// Looks until the search finds something, and follows it to its session.
pub(super) async fn found(browser: &Browser, stage: &Stage, words: &str) {
    let path = page(stage, &format!("/sessions?words={words}"));
    browser.open(&path).await.unwrap();
    while !browser.has(".hit-head a").await.unwrap() {
        browser.open(&path).await.unwrap();
    }
    browser.click(".hit-head a").await.unwrap();
    browser.until("What was done").await.unwrap();
    // Sealed a moment after its client has gone.
    while browser.script("return document.getElementById('verdict').dataset.verdict").await.unwrap() == "live"
    {
        let here = browser.address().await.unwrap();
        browser.open(&here).await.unwrap();
    }
}

/// From now on the page's clock goes when it is told to.
async fn hold_the_clock(browser: &Browser) {
    browser.script("window.moment = 0; performance.now = () => window.moment").await.unwrap();
}

async fn pass(browser: &Browser, milliseconds: u32) {
    browser.script(&format!("window.moment += {milliseconds}")).await.unwrap();
}

/// Looks until a script says so.
async fn until_so(browser: &Browser, script: &str) {
    let script = format!("return Boolean({script})");
    for _ in 0..1500 {
        if browser.script(&script).await.unwrap() == true {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{script} at {}", browser.text().await.unwrap());
}

async fn text_of(browser: &Browser, id: &str) -> String {
    let script = format!("return document.getElementById('{id}').textContent");
    browser.script(&script).await.unwrap().as_str().unwrap().to_owned()
}

/// Milliseconds that the player shows.
async fn shown_time(browser: &Browser) -> u64 {
    browser.script("return Number(document.getElementById('time').value)").await.unwrap().as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_found_and_replayed_as_it_happened() {
    let Some((mut stage, tools)) = stage().await else { return };
    let agent = named(&stage, 1, NAME);
    let script = format!(
        "select name, ssn from customers where id = 1;\nselect '{EVIL}' as \"{EVIL}\";\n\\! sleep 4\n\
         drop table customers;\nselect 'the last';\n"
    );
    did(&stage, &agent, &script).await;
    let audrey = signed_in(&stage, &tools, "Audrey", "/sessions").await;
    audrey.open(&page(&stage, "/sessions")).await.unwrap();
    assert!(audrey.until("The newest").await.unwrap().contains(NAME));
    assert!(audrey.has(".timeline rect.lane").await.unwrap());
    found(&audrey, &stage, "customers").await;
    let text = audrey.text().await.unwrap();
    for part in ["Verified.", NAME, "ssn masked", EVIL, "refused", "1 worth a look", "client closed"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!audrey.has("main img").await.unwrap() && !audrey.has("#goto:not([hidden])").await.unwrap());
    assert!(audrey.has("li.scene.notable").await.unwrap());

    // It plays, from the begin on, as fast as it happened; what is to come is not there yet.
    hold_the_clock(&audrey).await;
    audrey.click("#idle").await.unwrap();
    audrey.script("document.activeElement.blur()").await.unwrap();
    audrey.press(" ").await.unwrap();
    until_so(&audrey, "document.getElementById('play').textContent === 'Pause'").await;
    pass(&audrey, 1000).await;
    until_so(&audrey, "document.getElementById('clock').textContent === '0:01.000'").await;
    let ahead = "return [...document.querySelectorAll('li.scene')].map((one) => one.offsetHeight > 0)";
    assert_eq!(audrey.script(ahead).await.unwrap(), serde_json::json!([true, true, false, false]));
    audrey.press(" ").await.unwrap();
    assert_eq!(text_of(&audrey, "said").await, "Paused at 0:01.000");
    pass(&audrey, 1000).await;

    // Where nothing happens it is skipped; the next thing comes.
    audrey.click("#idle").await.unwrap();
    audrey.script("document.activeElement.blur()").await.unwrap();
    audrey.press(" ").await.unwrap();
    pass(&audrey, 10).await;
    until_so(&audrey, "Number(document.getElementById('time').value) > 3000").await;
    assert_eq!(audrey.script(ahead).await.unwrap(), serde_json::json!([true, true, false, false]));
    audrey.press("8").await.unwrap();
    let before = shown_time(&audrey).await;
    pass(&audrey, 10).await;
    until_so(&audrey, &format!("Number(document.getElementById('time').value) === {}", before + 80)).await;
    pass(&audrey, 60_000).await;
    until_so(&audrey, "document.getElementById('said').textContent === 'The end'").await;
    assert_eq!(audrey.script(ahead).await.unwrap(), serde_json::json!([true, true, true, true]));

    // By keys to the begin, and to what is worth a look.
    audrey.script("document.getElementById('time').focus()").await.unwrap();
    audrey.press(&HOME.to_string()).await.unwrap();
    until_so(&audrey, "document.getElementById('clock').textContent === '0:00.000'").await;
    audrey.script("document.activeElement.blur()").await.unwrap();
    audrey.press("f").await.unwrap();
    let focused = audrey.script("return document.activeElement.closest('li').id").await.unwrap();
    assert_eq!(focused, "op-3");
    assert!(text_of(&audrey, "said").await.starts_with("Operation 3 at 0:0"));
    audrey.press("f").await.unwrap();
    assert_eq!(text_of(&audrey, "said").await, "No more findings");
    audrey.click("#all").await.unwrap();
    assert_eq!(audrey.script(ahead).await.unwrap(), serde_json::json!([true, true, true, true]));
    // Keys that are switched off are.
    audrey.script("document.getElementById('keys-on').click(); document.activeElement.blur()").await.unwrap();
    audrey.press(" ").await.unwrap();
    assert_eq!(text_of(&audrey, "play").await, "Play");
    assert!(!audrey.script("return document.title").await.unwrap().as_str().unwrap().starts_with('1'));
    assert_eq!(stopped(&audrey).await, Vec::<String>::new());
    assert!(stage.audited().unwrap().contains("recording.viewed"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_is_played_window_after_window() {
    let Some((mut stage, tools)) = stage().await else { return };
    let agent = named(&stage, 1, "many");
    let script = "select 1 as one;\n".repeat(119) + "drop table customers;\n" + &"select 2;\n".repeat(19);
    did(&stage, &agent, &script).await;
    let carol = signed_in(&stage, &tools, "Carol", "/sessions").await;
    found(&carol, &stage, "customers").await;
    let numbers = "[...document.querySelectorAll('li.scene')].map((one) => Number(one.dataset.number))";
    let first = |number: u32| format!("{numbers}[0] === {number}");
    until_so(&carol, &format!("{} && {numbers}.length === 50", first(1))).await;
    hold_the_clock(&carol).await;
    carol.script("window.kept = 'kept'; document.activeElement.blur()").await.unwrap();
    carol.press(" ").await.unwrap();
    until_so(&carol, "document.getElementById('play').textContent === 'Pause'").await;
    // Further than this window goes: the next one is asked for, and plays on.
    for begins in [51, 101] {
        let last =
            "Math.max(...[...document.querySelectorAll('li.scene')].map((one) => Number(one.dataset.until)))";
        let script = format!(
            "window.moment += Math.max(0, {last} - Number(document.getElementById('time').value)) + 5"
        );
        carol.script(&script).await.unwrap();
        until_so(&carol, &first(begins)).await;
        assert!(carol.address().await.unwrap().ends_with(&format!("?from={begins}")));
    }
    carol.press(" ").await.unwrap();
    // A finding in another window, from the begin.
    carol.script("document.querySelector('#window nav a').click()").await.unwrap();
    carol.until_there("#player:not([hidden])").await.unwrap();
    until_so(&carol, &first(1)).await;
    carol.press("f").await.unwrap();
    until_so(&carol, &first(120)).await;
    assert_eq!(carol.script("return document.activeElement.closest('li').id").await.unwrap(), "op-120");
    assert!(carol.address().await.unwrap().ends_with("?after=50"));
    // And by the bar.
    carol.script("document.getElementById('time').focus()").await.unwrap();
    carol.press(&HOME.to_string()).await.unwrap();
    until_so(&carol, &first(1)).await;
    carol.press(&END.to_string()).await.unwrap();
    until_so(&carol, &format!("{numbers}.at(-1) === 139")).await;
    assert!(carol.script("return document.getElementById('verdict') !== null").await.unwrap() == true);
    // A gateway that does not answer is said, and nothing is lost.
    carol.script("XMLHttpRequest.prototype.send = function () { this.onerror(); }").await.unwrap();
    carol.press(&HOME.to_string()).await.unwrap();
    until_so(&carol, "document.getElementById('said').textContent.includes('does not answer')").await;
    assert!(carol.has("li.scene").await.unwrap());
    assert_eq!(stopped(&carol).await, Vec::<String>::new());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_recording_that_was_changed_says_so() {
    let Some((mut stage, tools)) = stage().await else { return };
    did(&stage, &named(&stage, 1, "one"), "select item from orders where id = 2;\n").await;
    let carol = signed_in(&stage, &tools, "Carol", "/sessions").await;
    found(&carol, &stage, "item").await;
    let verdict = "return document.getElementById('verdict').dataset.verdict";
    assert_eq!(carol.script(verdict).await.unwrap(), "ok");
    let [recorded] = &stage.recorded().unwrap()[..] else { panic!("not one recording") };
    let good = std::fs::read(&recorded.path).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    for (bytes, expected, word) in [(&bytes, "refused", "Not what was written."), (&good, "ok", "Verified.")]
    {
        std::fs::remove_file(&recorded.path).unwrap();
        std::fs::write(&recorded.path, bytes).unwrap();
        let here = carol.address().await.unwrap();
        carol.open(&here).await.unwrap();
        let text = carol.until(word).await.unwrap();
        assert_eq!(carol.script(verdict).await.unwrap(), expected, "{text}");
    }
    // Nobody else is shown that there is such a page.
    let eve = signed_in(&stage, &tools, "Eve", "/approvals").await;
    eve.open(&page(&stage, "/nothing")).await.unwrap();
    let nothing = eve.text().await.unwrap();
    let path = carol.address().await.unwrap();
    for path in [path.as_str(), &page(&stage, "/sessions"), &page(&stage, "/sessions?words=item")] {
        eve.open(path).await.unwrap();
        assert_eq!(eve.text().await.unwrap(), nothing, "{path}");
    }
    stage.stop().await;
}
