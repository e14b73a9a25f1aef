//! Rows inside of a record: subforms and multi-select lookups.

use super::*;

async fn products(bed: &Bed) -> Vec<Value> {
    let rows: Vec<Value> =
        ["P1", "P2", "P3"].iter().map(|code| json!({"Product_Name": code, "Product_Code": code})).collect();
    let (status, answer) = bed.zylker.post("/crm/v8/Products", &json!({"data": rows})).await;
    assert!(status < 300, "{answer}");
    answer["data"].as_array().expect("a list").iter().map(|row| row["details"]["id"].clone()).collect()
}

fn things(config: Value) -> Value {
    json!({"streams": {"things": {"module": "Everything", "match_on": ["Code"], "fields": config}}})
}

fn lines(others: &str) -> Value {
    things(
        json!({"id": ["Code", "Name"], "lines": {"to": "Lines", "rows": {"match_on": ["Item"], "others": others,
        "fields": {"item": "Item", "/product/code": {"to": "Product", "match": "Product_Code"}, "n": "Quantity"}}}}),
    )
}

fn thing(members: Value) -> String {
    schema("things", &["id"], &["id", "lines", "products"]) + &record("things", members) + &state(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_becomes_the_rows_of_a_subform() {
    for others in ["keep", "delete"] {
        let bed = Bed::new(lines(others)).await;
        let ids = products(&bed).await;
        let first = json!({"id": "1", "lines": [{"item": "a", "product": {"code": "P1"}, "n": 1.5}, {"item": "b", "product": {"code": "P2"}}]});
        // The answer is lost: what was written is looked up before it is sent again.
        bed.fault(json!({"match": {"method": "POST", "path_contains": "/Everything/upsert", "times": 1}, "action": {"kind": "cut_after_execute"}})).await;
        let (_, _, results) = bed.written(thing(first)).await;
        assert_eq!(actions(&results), ["written"], "{results:?}");
        let fields = "id,Item,Product,Quantity";
        let rows = bed.rows("Everything_Lines", fields).await;
        assert_eq!(rows.len(), 2, "each row once: {rows:?}");
        assert_eq!((&rows[0]["Product"], &rows[1]["Product"]), (&ids[0], &ids[1]));
        let second =
            json!({"id": "1", "lines": [{"item": "a", "n": 2}, {"item": "c", "product": {"code": "P3"}}]});
        let (_, _, results) = bed.written(thing(second)).await;
        assert_eq!(actions(&results), ["updated"]);
        let now = bed.rows("Everything_Lines", fields).await;
        assert_eq!(now.len(), if others == "keep" { 3 } else { 2 }, "{others} {now:?}");
        assert_eq!(
            (&now[0]["id"], &now[0]["Product"]),
            (&rows[0]["id"], &ids[0]),
            "the same row, its product kept"
        );
        assert_eq!(now[0]["Quantity"].to_string(), "2");
        let bad = json!({"id": "2", "lines": [{"item": "a"}, {"item": "b", "product": {"code": "P9"}}]});
        let (_, _, results) = bed.written(thing(bad)).await;
        assert_eq!((&results[0]["action"], &results[0]["field"]), (&json!("rejected"), &json!("Product")));
        assert!(results[0]["message"].as_str().is_some_and(|text| text.contains("\"P9\"")), "{}", results[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_fill_a_multi_select_lookup() {
    let config =
        things(json!({"id": ["Code", "Name"], "products": {"to": "Products", "match": "Product_Code"}}));
    let bed = Bed::new(config).await;
    let ids = products(&bed).await;
    for (codes, expected) in [(["P1", "P2"], [&ids[0], &ids[1]]), (["P2", "P3"], [&ids[1], &ids[2]])] {
        let (_, _, results) = bed.written(thing(json!({"id": "1", "products": codes}))).await;
        assert_eq!(results[0]["success"], true, "{}", results[0]);
        let links = bed.rows("Everything_X_Products", "Everything,Products").await;
        let found: Vec<&Value> = links.iter().map(|link| &link["Products"]).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_its_own_fills_a_subform() {
    let config = json!({"streams": {
        "things": {"module": "Everything", "match_on": ["Code"], "fields": {"id": ["Code", "Name"]}},
        "lines": {"module": "Everything", "rows_of": {"field": "Lines", "by": {"thing": "Code"}}, "match_on": ["Item"],
            "fields": {"item": "Item", "n": "Quantity"}}}});
    let bed = Bed::new(config).await;
    let mut input =
        schema("things", &["id"], &["id"]) + &schema("lines", &["thing", "item"], &["thing", "item", "n"]);
    for thing in 0..3 {
        input.push_str(&record("things", json!({"id": thing.to_string()})));
        for item in ["a", "b", "a"] {
            input.push_str(&record("lines", json!({"thing": thing.to_string(), "item": item, "n": thing})));
        }
    }
    input.push_str(&record("lines", json!({"thing": "9", "item": "a", "n": 1})));
    for time in 1..=2 {
        let (_, _, results) = bed.written(input.clone() + &state(time)).await;
        assert_eq!(results.len(), 13, "{results:?}");
        let lost: Vec<&Value> = results.iter().filter(|result| result["success"] == false).collect();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0]["message"].as_str().is_some_and(|text| text.contains("Code \"9\"")), "{}", lost[0]);
        let rows = bed.rows("Everything_Lines", "Item,Quantity").await;
        assert_eq!(rows.len(), 6, "two a record, the later a over the earlier, none twice");
    }
}
