"""The connector suite of Airbyte's CDK, on our programs.

Run by pytest in the environment of `requirements-airbyte-cdk.txt`, in a folder with `metadata.yaml` and
`acceptance-test-config.yml`, with a program on PATH that starts ours in place of `docker`.
"""

from airbyte_cdk.test.standard_tests.docker_base import DockerConnectorTestSuite



class TestSuite(DockerConnectorTestSuite):
    """Everything the suite has."""
