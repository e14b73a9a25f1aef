"""Zoho's Python SDK against the emulator: `sdk.py BASE_URL ZGID`.

The SDK takes its hosts from `DataCenter.Environment`, so the emulator's address is all it needs.
"""

import csv
import io
import sys
import tempfile
import time
import zipfile

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, Initializer, ParameterMap, SDKConfig, bulk_read, bulk_write
from zohocrmsdk.src.com.zoho.crm.api import record as records
from zohocrmsdk.src.com.zoho.crm.api.bulk_write import bulk_write_operations
from zohocrmsdk.src.com.zoho.crm.api.dc.data_center import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.modules import MinifiedModule
from zohocrmsdk.src.com.zoho.crm.api.util import Choice, StreamWrapper

MODULE = "Leads"


def initialize(url: str, folder: str) -> None:
    environment = DataCenter.Environment(url, f"{url}/oauth/v2/token", url)
    token = OAuthToken(
        client_id="1000.EMULATOR",
        client_secret="emulator-secret",
        refresh_token="1000.emulator.refresh",
        find_user=False,
    )
    config = SDKConfig(auto_refresh_fields=False, pick_list_validation=False)
    Initializer.initialize(environment, token, FileStore(f"{folder}/tokens"), config, folder)


def good(response, status: int):
    """The object of an answer that has to have that status."""
    assert response is not None, "the SDK swallowed an error"
    assert response.get_status_code() == status, (response.get_status_code(), response.get_object())
    return response.get_object()


def minified(name: str) -> MinifiedModule:
    module = MinifiedModule()
    module.set_api_name(name)
    return module


def read_records() -> None:
    parameters = ParameterMap()
    parameters.add(records.GetRecordsParam.fields, "id,Last_Name,Owner,Modified_Time")
    answer = good(records.RecordOperations(MODULE).get_records(parameters, HeaderMap()), 200)
    found = answer.get_data()
    assert len(found) == 200 and answer.get_info().get_more_records() is True
    assert all(record.get_id() and record.get_key_value("Owner").get_id() for record in found)


def upsert() -> None:
    for status, action in ((201, "insert"), (200, "update")):
        record = records.Record()
        record.add_field_value(records.Field.Leads.last_name(), "Nguyễn")
        record.add_field_value(records.Field.Leads.company(), f"Company {action}")
        record.add_field_value(records.Field.Leads.email(), "interop@x.test")
        body = records.BodyWrapper()
        body.set_data([record])
        body.set_duplicate_check_fields(["Email"])
        response = records.RecordOperations(MODULE).upsert_records(body, HeaderMap())
        assert response is not None and response.get_status_code() in (200, 201), response
        (result,) = response.get_object().get_data()
        assert result.get_status().get_value() == "success" and result.get_action().get_value() == action, status


def text_of(stream: StreamWrapper) -> list[list[str]]:
    """The rows of the only CSV in a downloaded zip."""
    content = b"".join(stream.get_stream())
    archive = zipfile.ZipFile(io.BytesIO(content))
    (name,) = archive.namelist()
    return list(csv.reader(io.StringIO(archive.read(name).decode(), newline="")))


def run_bulk_read() -> None:
    query = bulk_read.Query()
    query.set_module(minified(MODULE))
    query.set_fields(["Last_Name", "Owner"])
    body = bulk_read.BodyWrapper()
    body.set_query(query)
    operations = bulk_read.BulkReadOperations()
    (created,) = good(operations.create_bulk_read_job(body), 201).get_data()
    job = int(created.get_details()["id"])
    for _ in range(200):
        (detail,) = good(operations.get_bulk_read_job_details(job), 200).get_data()
        if detail.get_state().get_value() == "COMPLETED":
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the job does not end")
    rows = text_of(good(operations.download_result(job), 200).get_file())
    assert rows[0] == ["Id", "Last_Name", "Owner"] and len(rows) - 1 == detail.get_result().get_count()


def upload(folder: str, zgid: str) -> str:
    path = f"{folder}/contacts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("contacts.csv", "Email,Last_Name\r\na@x.test,Ng\r\nb@x.test,\"O, Li\"\r\n")
    body = bulk_write.FileBodyWrapper()
    body.set_file(StreamWrapper(file_path=path))
    headers = HeaderMap()
    headers.add(bulk_write_operations.UploadFileHeader.feature, "bulk-write")
    headers.add(bulk_write_operations.UploadFileHeader.x_crm_org, zgid)
    answer = good(bulk_write.BulkWriteOperations().upload_file(body, headers), 200)
    # The SDK reads the id as a number and wants it back as text.
    return str(answer.get_details()["file_id"])


def run_bulk_write(folder: str, zgid: str) -> None:
    resource = bulk_write.Resource()
    resource.set_type(Choice("data"))
    resource.set_module(minified("Contacts"))
    resource.set_file_id(upload(folder, zgid))
    resource.set_find_by("Email")
    mappings = []
    for index, name in enumerate(("Email", "Last_Name")):
        mapping = bulk_write.FieldMapping()
        mapping.set_api_name(name)
        mapping.set_index(index)
        mappings.append(mapping)
    resource.set_field_mappings(mappings)
    body = bulk_write.RequestWrapper()
    body.set_operation(Choice("upsert"))
    body.set_resource([resource])
    operations = bulk_write.BulkWriteOperations()
    # Bulk read wants the id as a number, bulk write as text.
    job = str(good(operations.create_bulk_write_job(body), 201).get_details()["id"])
    for _ in range(200):
        detail = good(operations.get_bulk_write_job_details(job), 200)
        if detail.get_status() == "COMPLETED":
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the job does not end")
    assert detail.get_resource()[0].get_file().get_added_count() == 2


def main() -> None:
    url, zgid = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        initialize(url, folder)
        for name, step in (
            ("records", read_records),
            ("upsert", upsert),
            ("bulk read", run_bulk_read),
            ("bulk write", lambda: run_bulk_write(folder, zgid)),
        ):
            start = time.monotonic()
            step()
            print(f"  sdk {name:10} {time.monotonic() - start:6.2f} s", flush=True)


if __name__ == "__main__":
    main()
