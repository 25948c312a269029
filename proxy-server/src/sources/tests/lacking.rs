//! What who asks for a list hears of what it lacks.

use super::*;

#[tokio::test]
async fn who_asks_is_told_what_the_list_lacks_and_is_served_on() {
    for (repeat, words) in [
        ("false", "REPEAT_RELOAD=false"),
        ("true", "once the next lists"),
    ] {
        let bench = Bench::new().await;
        let script = Script::default();
        script.say([list(&[entry("a"), entry("b")])]);
        let server = listener(&script).await;
        let sources = bench.start(&[
            ("LISTENER_ADDRESS", &server.uri()),
            ("REPEAT_RELOAD", repeat),
            ("RELOAD_INTERVAL", "60000"),
        ]);
        bench.until(|services| services.len() == 2).await;
        bench.engine.change(request(put("by-hand"))).await.unwrap();
        let told = sources.ask_listeners().await.unwrap();
        assert_eq!(told.doubted.count, 0, "{told:?}");
        script.say([list(&[entry("a")])]);
        let told = sources.ask_listeners().await.unwrap();
        assert_eq!((told.listed, told.doubted.count), (1, 1), "{told:?}");
        assert!(told.doubted.first["b"].contains(words), "{told:?}");
        assert_eq!(bench.names(), ["a", "b", "by-hand"]);
        // It is nothing to worry about as long as nobody asks.
        let report = sources.reports_of(Source::Listener);
        assert!(report.borrow().is_well());
    }
}
