"""Names that no column has are reported where the user restricts by them, and only there."""

import warnings

import datajoint as dj
import pytest

from schemas import activity, ephys, rows, session, views


@pytest.mark.parametrize(
    ("restrict", "name", "hint"),
    [
        (lambda: activity.UnitRate & {"window": "stimulus"}, "window", "'window_name'"),
        (lambda: ephys.GoodUnits.Unit & [{"criterium": "ibl_2022"}], "criterium", "'criterion'"),
        (lambda: session.Session() - {"subject_name": "m"}, "subject_name", "'subject'"),
        (lambda: session.Session & dj.Not({"laboratory": "x"}), "laboratory", "columns: eid"),
        (lambda: views.units() & {"cluster": 3, "probe_name": "probe00"}, "cluster", "cluster_id"),
        (lambda: activity.Window & dj.AndList([{"name": "stimulus"}]), "name", "'window_name'"),
    ],
    ids=["dict", "list", "minus", "not", "view", "and"],
)
def test_a_name_that_no_column_has_is_reported_with_the_nearest(populated, restrict, name, hint):
    with pytest.warns(UserWarning, match=f"no column is called '{name}'.*{hint}") as caught:
        restrict()
    assert [warning.filename for warning in caught] == [__file__]


def test_names_of_columns_of_any_table_and_calls_inside_the_packages_are_not_reported(populated):
    key = (activity.UnitRate.Unit & {"window_name": "stimulus"}).keys()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(session.Session & key) == 1
        assert len(session.Session & rows.frame(session.Session)[["eid"]]) == len(session.Session())
        assert len(views.sessions(project="ibl_neuropixel_brainwide_01")) > 0
        assert len(views.units("TH", "ibl_2022")) > 0


def test_columns_of_tables_of_the_user_are_known(populated):
    class Stimulus(dj.Manual):
        definition = """
        # one row per stimulus of mine
        my_stimulus = 'x'   : varchar(32)   # name
        -> session.Session.proj(my_session='eid')
        """

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session.Session & {"my_stimulus": "a", "my_session": "b"}
