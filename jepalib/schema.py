"""Names and constants of the data format: classes, branches, model inputs.

The format is JetClass (arXiv:2202.03772): one ROOT tree ``tree`` with jagged
``part_*`` branches and flat ``jet_*``, ``label_*`` ones. px, py, pz, energy, pt
are in GeV, deta and dphi have no unit, impact parameters are in mm.
"""

TREE = "tree"
MAX_PARTICLES = 128  # constituents used per jet, as in ParT

# Class order of every label, score and confusion matrix in the project.
CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
LABEL_BRANCHES = tuple(f"label_{name}" for name in CLASSES)
DATASET_CLASSES = {  # of the other public data sets, each in its own label order
    "jetclass": CLASSES,
    "top": ("QCD", "top"),
    "quark-gluon": ("gluon", "quark"),
    "lhco": ("background", "signal"),
}
PROCESSES = {  # class -> stem of the file name
    "QCD": "ZJetsToNuNu",
    "Hbb": "HToBB",
    "Hcc": "HToCC",
    "Hgg": "HToGG",
    "H4q": "HToWW4Q",
    "Hqql": "HToWW2Q1L",
    "Zqq": "ZToQQ",
    "Wqq": "WToQQ",
    "Tbqq": "TTBar",
    "Tbl": "TTBarLep",
}
CLASS_TITLES = {  # for axes and legends
    "QCD": r"$q/g$",
    "Hbb": r"$H \to b\bar{b}$",
    "Hcc": r"$H \to c\bar{c}$",
    "Hgg": r"$H \to gg$",
    "H4q": r"$H \to 4q$",
    "Hqql": r"$H \to \ell\nu qq'$",
    "Zqq": r"$Z \to q\bar{q}$",
    "Wqq": r"$W \to qq'$",
    "Tbqq": r"$t \to bqq'$",
    "Tbl": r"$t \to b\ell\nu$",
}

# Columns of `Jets.particles`, in this order; the branch is `part_` + name.
PARTICLE_FIELDS = (
    "px", "py", "pz", "energy", "deta", "dphi",
    "d0val", "d0err", "dzval", "dzerr",
    "charge", "isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon",
)  # fmt: skip
PARTICLE_COLUMN = {name: i for i, name in enumerate(PARTICLE_FIELDS)}
PID_FIELDS = PARTICLE_FIELDS[10:]
TD_FIELDS = PARTICLE_FIELDS[6:10]

# Columns of `Jets.observables`; the branch is `jet_` + name.
JET_FIELDS = (
    "pt", "eta", "phi", "energy", "nparticles", "sdmass", "tau1", "tau2", "tau3", "tau4",
)  # fmt: skip
JET_COLUMN = {name: i for i, name in enumerate(JET_FIELDS)}

# The model inputs of ParT, in three nested groups.
KIN_INPUTS = ("log_pt", "log_energy", "log_pt_rel", "log_energy_rel", "delta_r", "deta", "dphi")
PID_INPUTS = PID_FIELDS
TD_INPUTS = ("tanh_d0", "d0err", "tanh_dz", "dzerr")
INPUTS = KIN_INPUTS + PID_INPUTS + TD_INPUTS
INPUT_GROUPS = {"kin": slice(0, 7), "pid": slice(7, 13), "td": slice(13, 17)}
INPUT_SETS = {"kin": 7, "kinpid": 13, "full": 17}  # name -> how many leading inputs

# Particle classes of the PID tasks.
PARTICLE_TYPES = ("photon", "h-", "h0", "h+", "e-", "e+", "mu-", "mu+")
UNKNOWN_TYPE = -1  # a data set without identification
