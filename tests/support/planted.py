"""Which keys each table must have by the truth of a simulated release."""

import itertools

from schemas.sources.records import BANDS, TRACKERS


def keys(truth):
    """Keys of the tables of sessions, cameras, raw recordings and waveforms, by their names."""
    sessions, cameras, passive = truth.sessions, truth.cameras, truth.passive
    recordings = truth.insertions[["eid", "probe_name"]].itertuples(index=False)
    bands = [(*recording, band) for recording, band in itertools.product(recordings, BANDS)]
    found = {
        "behavior.Trials": sessions[["eid"]],
        "wheel.Wheel": sessions.loc[sessions.n_wheel > 0, ["eid"]],
        "video.FrameTimes": cameras[["eid", "camera"]],
        "video.Pupil": cameras.loc[cameras.pupil, ["eid", "camera"]],
        "video.MotionEnergy": cameras.loc[cameras.motion_energy, ["eid", "camera"]],
        "video.Licks": sessions.loc[sessions.n_licks > 0, ["eid"]],
        "passive.PassivePeriods": passive[["eid"]],
        "passive.ReceptiveField": passive.loc[passive.n_noise_frames > 0, ["eid"]],
        "passive.PassiveStimuli": passive.loc[passive.n_stimuli > 0, ["eid"]],
        "passive.PassiveGabors": passive.loc[passive.n_gabors > 0, ["eid"]],
    }
    planted = {name: set(frame.itertuples(index=False, name=None)) for name, frame in found.items()}
    planted["video.Pose"] = {
        (row["eid"], row["camera"], tracker)
        for row in cameras.to_dict("records")
        for tracker in TRACKERS
        if row[tracker]
    }
    planted["ephys.Waveform"] = {
        (unit.eid, unit.probe_name, "pykilosort" + (unit.revision and f"@{unit.revision}"))
        for unit in truth.units.itertuples()
        if unit.waveforms_of
    }
    places = truth.datasets.rel_path.str.extract(r"raw_ephys_data/(.+)/_iblqc_ephysSaturation")[0]
    saturated = zip(truth.datasets.eid, places, strict=True)
    planted["quality.Saturation"] = {key for key in saturated if isinstance(key[1], str)}
    return planted | {"quality.RMS": set(bands), "quality.SpectralDensity": set(bands)}
