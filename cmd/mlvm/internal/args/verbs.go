package args

// verbOptions are the options that lvm2 takes with each verb, without those of commonOptions, which all verbs take.
// Source: the --longhelp of each command of lvm2 2.03.16.
var verbOptions = map[string]string{
	"config": "atversion file ignoreadvanced ignorelocal ignoreunsupported list mergedconfig metadataprofile " +
		"showdeprecated showunsupported sinceversion typeconfig unconfigured validate withcomments " +
		"withgeneralpreamble withlocalpreamble withspaces withsummary withversions",
	"devtypes": "aligned binary nameprefixes noheadings nosuffix options reportformat rows select separator sort " +
		"unbuffered unquoted",
	"dumpconfig": "atversion file ignoreadvanced ignorelocal ignoreunsupported list mergedconfig metadataprofile " +
		"showdeprecated showunsupported sinceversion typeconfig unconfigured validate withcomments " +
		"withgeneralpreamble withlocalpreamble withspaces withsummary withversions",
	"formats": "",
	"fullreport": "aligned all binary configreport foreign ignorelockingfailure ignoreskippedcluster logonly " +
		"nameprefixes noheadings nosuffix options partial readonly reportformat rows select separator " +
		"shared sort trustcache unbuffered units unquoted",
	"help":    "",
	"lastlog": "reportformat select",
	"lvchange": "activate activationmode addtag alloc autobackup available cachemode cachepolicy cachesettings " +
		"compression contiguous deduplication deltag detachprofile discards errorwhenfull force " +
		"ignoreactivationskip ignorelockingfailure ignoremonitoring ignoreskippedcluster major " +
		"maxrecoveryrate metadataprofile minor minrecoveryrate monitor noudevsync partial permission " +
		"persistent poll raidmaxrecoveryrate raidminrecoveryrate raidrebuild raidsyncaction " +
		"raidwritebehind raidwritemostly readahead readonly rebuild refresh reportformat resync select " +
		"setactivationskip setautoactivation syncaction sysinit vdosettings writebehind writemostly zero",
	"lvconvert": "alloc background cache cachedevice cachemetadataformat cachemode cachepolicy cachepool " +
		"cachesettings cachesize cachevol chunksize compression corelog deduplication discards " +
		"errorwhenfull force interval merge mergemirrors mergesnapshot mergethin metadataprofile " +
		"mirrorlog mirrors name noudevsync originname poolmetadata poolmetadatasize poolmetadataspare " +
		"raidintegrity raidintegrityblocksize raidintegritymode readahead regionsize repair replace " +
		"snapshot split splitcache splitmirrors splitsnapshot startpoll stripes stripesize swapmetadata " +
		"thin thinpool trackchanges type uncache usepolicies vdopool vdosettings virtualoriginsize " +
		"virtualsize zero",
	"lvcreate": "activate addtag alloc autobackup available cache cachedevice cachemetadataformat cachemode " +
		"cachepolicy cachepool cachesettings cachesize cachevol chunksize compression contiguous corelog " +
		"deduplication discards errorwhenfull extents ignoreactivationskip ignoremonitoring major " +
		"maxrecoveryrate metadataprofile minor minrecoveryrate mirrorlog mirrors monitor name nosync " +
		"noudevsync permission persistent poolmetadatasize poolmetadataspare raidintegrity " +
		"raidintegrityblocksize raidintegritymode raidmaxrecoveryrate raidminrecoveryrate readahead " +
		"regionsize reportformat setactivationskip setautoactivation size snapshot stripes stripesize " +
		"thin thinpool type vdo vdopool vdosettings virtualoriginsize virtualsize wipesignatures zero",
	"lvdisplay": "aligned all binary colon columns configreport foreign history ignorelockingfailure " +
		"ignoreskippedcluster logonly maps noheadings nosuffix options partial readonly reportformat " +
		"segments select separator shared sort unbuffered units",
	"lvextend": "alloc autobackup extents force mirrors nofsck nosync noudevsync poolmetadatasize reportformat " +
		"resizefs size stripes stripesize type usepolicies",
	"lvmchange": "",
	"lvmconfig": "atversion file ignoreadvanced ignorelocal ignoreunsupported list mergedconfig metadataprofile " +
		"showdeprecated showunsupported sinceversion typeconfig unconfigured validate withcomments " +
		"withgeneralpreamble withlocalpreamble withspaces withsummary withversions",
	"lvmdevices":  "adddev addpvid check deldev delpvid deviceidtype update",
	"lvmdiskscan": "lvmpartition readonly",
	"lvmsadc":     "",
	"lvmsar":      "full stdin",
	"lvpoll":      "abort autobackup handlemissingpvs interval polloperation",
	"lvreduce":    "autobackup extents force nofsck noudevsync reportformat resizefs size",
	"lvremove":    "autobackup force nohistory noudevsync reportformat select",
	"lvrename":    "autobackup noudevsync reportformat",
	"lvresize": "alloc autobackup extents force nofsck nosync noudevsync poolmetadatasize reportformat resizefs " +
		"size stripes stripesize type",
	"lvs": "aligned all binary configreport foreign history ignorelockingfailure ignoreskippedcluster " +
		"logonly nameprefixes noheadings nosuffix options partial readonly reportformat rows segments " +
		"select separator shared sort trustcache unbuffered units unquoted",
	"lvscan": "all blockdevice cache ignorelockingfailure partial readonly reportformat",
	"pvchange": "addtag all allocatable allocation autobackup deltag force ignoreskippedcluster metadataignore " +
		"reportformat select uuid",
	"pvck": "dump file labelsector metadatacopies pvmetadatacopies repair repairtype settings",
	"pvcreate": "bootloaderareasize dataalignment dataalignmentoffset force labelsector metadatacopies " +
		"metadataignore metadatasize metadatatype norestorefile pvmetadatacopies reportformat " +
		"restorefile setphysicalvolumesize uuid zero",
	"pvdata": "",
	"pvdisplay": "aligned all binary colon columns configreport foreign ignorelockingfailure ignoreskippedcluster " +
		"logonly maps noheadings nosuffix options readonly reportformat select separator shared short " +
		"sort unbuffered units",
	"pvmove":   "abort alloc atomic autobackup background interval name noudevsync reportformat",
	"pvremove": "force reportformat",
	"pvresize": "reportformat setphysicalvolumesize",
	"pvs": "aligned all binary configreport foreign ignorelockingfailure ignoreskippedcluster logonly " +
		"nameprefixes noheadings nosuffix options partial readonly reportformat rows segments select " +
		"separator shared sort trustcache unbuffered units unquoted",
	"pvscan": "activate autoactivation available background cache checkcomplete exported ignorelockingfailure " +
		"listlvs listvg major minor noudevsync novolumegroup reportformat short udevoutput uuid vgonline",
	"segtypes":     "",
	"systemid":     "",
	"tags":         "",
	"version":      "",
	"vgcfgbackup":  "file foreign ignorelockingfailure partial readonly reportformat",
	"vgcfgrestore": "file force list metadatatype",
	"vgchange": "activate activationmode addtag alloc allocation autoactivation autobackup available deltag " +
		"detachprofile force ignoreactivationskip ignorelockingfailure ignoremonitoring " +
		"ignoreskippedcluster lockstart lockstop locktype logicalvolume maxphysicalvolumes " +
		"metadatacopies metadataprofile monitor noudevsync partial physicalextentsize poll " +
		"pvmetadatacopies readonly refresh reportformat resizable resizeable select setautoactivation " +
		"sysinit systemid uuid vgmetadatacopies",
	"vgck":      "reportformat updatemetadata",
	"vgconvert": "bootloaderareasize force labelsector metadatasize metadatatype pvmetadatacopies reportformat",
	"vgcreate": "addtag alloc autobackup clustered dataalignment dataalignmentoffset force labelsector locktype " +
		"maxlogicalvolumes maxphysicalvolumes metadatacopies metadataprofile metadatasize metadatatype " +
		"physicalextentsize pvmetadatacopies reportformat setautoactivation shared systemid " +
		"vgmetadatacopies zero",
	"vgdisplay": "activevolumegroups aligned binary colon columns configreport foreign ignorelockingfailure " +
		"ignoreskippedcluster logonly noheadings nosuffix options partial readonly reportformat select " +
		"separator shared short sort unbuffered units",
	"vgexport": "all reportformat select",
	"vgextend": "autobackup dataalignment dataalignmentoffset force labelsector metadataignore metadatasize " +
		"metadatatype pvmetadatacopies reportformat restoremissing zero",
	"vgimport":        "all force reportformat select",
	"vgimportclone":   "basevgname import importdevices",
	"vgimportdevices": "all foreign reportformat select",
	"vgmerge":         "autobackup list poolmetadataspare",
	"vgmknodes":       "ignorelockingfailure refresh reportformat",
	"vgreduce":        "all autobackup force mirrorsonly removemissing reportformat",
	"vgremove":        "force noudevsync reportformat select",
	"vgrename":        "autobackup force reportformat",
	"vgs": "aligned all binary configreport foreign ignorelockingfailure ignoreskippedcluster logonly " +
		"nameprefixes noheadings nosuffix options partial readonly reportformat rows select separator " +
		"shared sort trustcache unbuffered units unquoted",
	"vgscan": "cache ignorelockingfailure mknodes notifydbus partial reportformat",
	"vgsplit": "alloc autobackup maxlogicalvolumes maxphysicalvolumes metadatacopies metadatatype name " +
		"poolmetadataspare vgmetadatacopies",
}

const commonOptions = "commandprofile config debug devices devicesfile driverloaded help journal lockopt longhelp nohints nolocking p" +
	"rofile quiet test verbose version yes"
