"""The run of all studies takes long: it goes first, so that no other process waits for it at the end."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name != "test_study_run_all_as_a_command")
