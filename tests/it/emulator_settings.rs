//! What hangs on an organisation and on one record of the local Zoho: layouts, pipelines, currencies, tags,
//! territories, notes, attachments, the recycle bin; rows behind fields.

use crate::common::zylker::{Zylker, answer};
use serde_json::{Value, json};
use zoho_crm_connector::emulator::Options;

fn first_id(body: &Value) -> String {
    body["data"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn currencies_and_territories_are_there_when_the_organisation_has_them() {
    let zylker = Zylker::with_rows(&[]).await;
    let refused = zylker.get("/crm/v8/org/currencies").await;
    assert_eq!((refused.0, &refused.1["code"]), (403, &json!("CURRENCIES_NOT_ENABLED")));
    assert_eq!(zylker.get("/crm/v8/settings/territories").await.0, 204);
    zylker
        .emulator
        .app()
        .change_switches(|switches| (switches.multi_currency, switches.territories) = (true, true));
    let (_, body) = zylker.get("/crm/v8/org/currencies").await;
    let id = body["currencies"][1]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        zylker.get(&format!("/crm/v8/org/currencies/{id}")).await.1["currencies"][0]["iso_code"],
        "EUR"
    );
    assert_eq!(zylker.get("/crm/v8/org").await.1["org"][0]["mc_status"], true);
    assert_eq!(zylker.get("/crm/v8/settings/territories").await.1["info"]["count"], 3);
}

#[tokio::test]
async fn a_layout_asks_for_its_own_fields_in_record_calls() {
    let layouts = json!([{"name": "Standard"}, {"name": "Partner", "required": ["Phone"]}]);
    let schema = json!({"modules": [{"api_name": "Leads", "layouts": layouts}]});
    let zylker = Zylker::start(Options { schema: Some(schema), ..Options::default() }).await;
    let (_, body) = zylker.get("/crm/v8/settings/layouts?module=Leads").await;
    let id = body["layouts"][1]["id"].as_str().expect("an id").to_owned();
    let lead = |phone: Value| json!({"data": [{"Last_Name": "Ng", "Layout": {"id": id}, "Phone": phone}]});
    let (_, refused) = zylker.post("/crm/v8/Leads", &lead(Value::Null)).await;
    assert_eq!(refused["data"][0]["details"]["api_name"], "Phone", "{refused}");
    assert_eq!(zylker.post("/crm/v8/Leads", &lead(json!("1"))).await.0, 201);
    let (_, read) = zylker.get("/crm/v8/Leads?fields=Layout").await;
    assert_eq!(read["data"][0]["Layout"], json!({"name": "Partner", "id": id}));
    let foreign = json!({"data": [{"Account_Name": "A", "Layout": {"id": id}}]});
    assert_eq!(zylker.post("/crm/v8/Accounts", &foreign).await.0, 400);
}

#[tokio::test]
async fn pipelines_belong_to_a_layout_of_deals() {
    let zylker = Zylker::with_rows(&[]).await;
    assert_eq!(zylker.get("/crm/v8/settings/pipeline").await.1["code"], "REQUIRED_PARAM_MISSING");
    let layout = |body: Value| body["layouts"][0]["id"].as_str().expect("an id").to_owned();
    let deals = layout(zylker.get("/crm/v8/settings/layouts?module=Deals").await.1);
    let (_, body) = zylker.get(&format!("/crm/v8/settings/pipeline?layout_id={deals}")).await;
    assert_eq!(body["pipeline"][0]["maps"][0]["actual_value"], "Qualification");
    let leads = layout(zylker.get("/crm/v8/settings/layouts?module=Leads").await.1);
    assert_eq!(zylker.get(&format!("/crm/v8/settings/pipeline?layout_id={leads}")).await.0, 204);
}

#[tokio::test]
async fn tags_are_those_that_records_have() {
    let zylker = Zylker::with_rows(&[]).await;
    assert_eq!(zylker.get("/crm/v8/settings/tags?module=Leads").await.0, 204);
    zylker.post("/crm/v8/Leads", &json!({"data": [{"Last_Name": "Ng", "Tag": [{"name": "new"}]}]})).await;
    let (_, listed) = zylker.get("/crm/v8/settings/tags?module=Leads").await;
    let (_, lead) = zylker.get("/crm/v8/Leads?fields=Tag").await;
    assert_eq!(lead["data"][0]["Tag"][0]["id"], listed["tags"][0]["id"]);
}

#[tokio::test]
async fn notes_and_attachments_hang_on_a_record() {
    let zylker = Zylker::with_rows(&[("Leads", 60), ("Notes", 30)]).await;
    let (_, leads) = zylker.get("/crm/v8/Leads?fields=id").await;
    let url = |id: &str, related: &str, fields: &str| format!("/crm/v8/Leads/{id}/{related}{fields}");
    assert_eq!(zylker.get(&url(&first_id(&leads), "Notes", "")).await.1["code"], "REQUIRED_PARAM_MISSING");
    let (mut notes, mut attachments) = (0, 0);
    for lead in leads["data"].as_array().expect("leads") {
        let id = lead["id"].as_str().expect("an id");
        let (_, found) = zylker.get(&url(id, "Notes", "?fields=Note_Content,Parent_Id")).await;
        notes += found["data"].as_array().map_or(0, Vec::len);
        let (_, found) = zylker.get(&url(id, "Attachments", "?fields=File_Name,Size,Parent_Id")).await;
        for attachment in found["data"].as_array().into_iter().flatten() {
            attachments += 1;
            assert_eq!((&attachment["Parent_Id"]["id"], attachment.get("Owner")), (&lead["id"], None));
        }
    }
    assert!((20..=30).contains(&notes) && attachments > 2, "{notes} {attachments}");
}

#[tokio::test]
async fn the_recycle_bin_lists_and_purges() {
    let zylker = Zylker::with_rows(&[("Leads", 2), ("Accounts", 1)]).await;
    for module in ["Leads", "Accounts"] {
        zylker.post("/__emulator/mutate", &json!({"module": module, "delete": 1})).await;
    }
    let (_, bin) = zylker.get("/crm/v8/settings/recycle_bin").await;
    assert_eq!(bin["info"]["count"], 2, "{bin}");
    let id = bin["recycle_bin"][0]["id"].as_str().expect("an id");
    let gone = answer(zylker.request("DELETE", &format!("/crm/v8/settings/recycle_bin?ids={id},1"))).await;
    assert_eq!((gone.0, &gone.1["recycle_bin"][1]["code"]), (207, &json!("INVALID_DATA")));
    assert_eq!(zylker.get("/crm/v8/settings/recycle_bin").await.1["info"]["count"], 1);
}

#[tokio::test]
async fn rows_behind_fields_are_written_nested_and_read_by_both_ways() {
    let zylker = Zylker::with_rows(&[("Products", 3)]).await;
    let product = first_id(&zylker.get("/crm/v8/Products?fields=id").await.1);
    let users = zylker.get("/crm/v8/users?type=ActiveUsers").await.1;
    let user = users["users"][1]["id"].clone();
    let record = json!({"Name": "E", "Products": [{"Products": {"id": product}}], "Team": [{"User": {"id": user}}],
        "Lines": [{"Item": "one"}]});
    let (status, made) = zylker.post("/crm/v8/Everything", &json!({"data": [record]})).await;
    assert_eq!(status, 201, "{made}");
    let id = made["data"][0]["details"]["id"].as_str().expect("an id");
    let (_, read) = zylker.get(&format!("/crm/v8/Everything/{id}")).await;
    let read = &read["data"][0];
    assert_eq!(
        (&read["Team"][0]["User"]["id"], &read["Products"][0]["Products"]["id"]),
        (&user, &json!(product))
    );
    for (module, field) in
        [("Everything_X_Users", "User"), ("Everything_X_Products", "Products"), ("Everything_Lines", "Item")]
    {
        let (_, rows) = zylker.get(&format!("/crm/v8/{module}?fields={field}")).await;
        assert_eq!(rows["data"].as_array().map(Vec::len), Some(1), "{module}");
        let (status, rows) = zylker.coql(&format!("select {field} from {module} where id is not null")).await;
        assert_eq!(status, 200, "{module}: {rows}");
    }
    let (_, fields) = zylker.get("/crm/v8/settings/fields?module=Everything").await;
    let team = fields["fields"].as_array().expect("fields").iter().find(|field| field["api_name"] == "Team");
    let link = &team.expect("there")["multiuserlookup"];
    assert_eq!(
        (&link["linking_module"]["api_name"], &link["lookup_apiname"]),
        (&json!("Everything_X_Users"), &json!("Everything"))
    );
    let quote = json!({"Subject": "Q", "Quoted_Items": [{"Product_Name": {"id": product}, "Quantity": 2}]});
    assert_eq!(zylker.post("/crm/v8/Quotes", &json!({"data": [quote]})).await.0, 201);
    assert_eq!(zylker.post("/crm/v8/Quotes", &json!({"data": [{"Subject": "Q"}]})).await.0, 400);
}
