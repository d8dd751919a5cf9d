import inspect
import re

from model_core import errors


def test_every_error_is_in_the_tree_of_the_docstring():
    """The drawn hierarchy lists exactly the classes of the module, each under its base."""
    assert errors.__doc__
    drawn = re.findall(r"^ +(?:[│├└─ ]*)(\w+Error)\b", errors.__doc__, flags=re.MULTILINE)
    defined = [name for name, _ in inspect.getmembers(errors, inspect.isclass)]

    assert sorted(drawn) == sorted(defined)


def test_every_error_can_be_caught_as_one():
    """A caller that wants all of model_core's errors catches ModelCoreError."""
    for _, error in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(error, errors.ModelCoreError)


def test_input_errors_are_the_callers_fault_and_no_others():
    """What a service answers with 422 is an InputError; broken files and machines are not."""
    classes = inspect.getmembers(errors, inspect.isclass)
    names = {name for name, error in classes if issubclass(error, errors.InputError)}

    assert names == {"InputError", "SizeMismatchError", "NothingKnownError", "PictureModeError"}
