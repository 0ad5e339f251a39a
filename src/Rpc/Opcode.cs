namespace EphemeralFs.Rpc;

/// <summary>What a request asks for. The upper byte is the role that answers; numbers are never reused.</summary>
public enum Opcode : ushort
{
    None = 0,

    // Metadata server, sessions and grants
    OpenSession = 0x0101,
    RenewSession = 0x0102,
    CloseSession = 0x0103,
    AcquireGrant = 0x0104,
    ReturnGrant = 0x0105,

    // Metadata server, namespace
    Lookup = 0x0110,
    GetAttr = 0x0111,
    SetAttr = 0x0112,
    Mknod = 0x0113,
    Create = 0x0114,
    Tmpfile = 0x0115,
    Unlink = 0x0116,
    Rmdir = 0x0117,
    Rename = 0x0118,
    Link = 0x0119,
    ReadLink = 0x011A,
    ReadDir = 0x011B,
    StatFs = 0x011C,

    // Metadata server, open files and their data
    Open = 0x0120,
    Close = 0x0121,
    GetLayout = 0x0122,
    Commit = 0x0123,
    Fallocate = 0x0124,
    Clone = 0x0125,
    Seek = 0x0126,
    OpenName = 0x0127,
    CreateAndCommit = 0x0128,

    // Metadata server, extended attributes
    SetXattr = 0x0130,
    GetXattr = 0x0131,
    ListXattr = 0x0132,
    RemoveXattr = 0x0133,

    // Metadata server, locks
    GetLock = 0x0140,
    SetLock = 0x0141,
    CancelLock = 0x0142,

    // Metadata server, administration
    CreateVolume = 0x0150,
    DeleteVolume = 0x0151,
    ListVolumes = 0x0152,
    CheckBlocks = 0x0153,
    CloneVolume = 0x0154,

    // Node, called back by the metadata server
    Recall = 0x0180,
    RecallGrant = 0x0181,
    ForgetName = 0x0182,
    Forget = 0x0183,

    // Storage server
    WriteBlock = 0x0201,
    ReadBlock = 0x0202,
    DeleteBlocks = 0x0203,
    DeleteVolumeBlocks = 0x0204,
    ListBlocks = 0x0205,
    StorageStatus = 0x0206,
    LiveSessions = 0x0207,

    // Controller
    Register = 0x0301,
    GetView = 0x0302,
    AddVolume = 0x0303,
    RemoveVolume = 0x0304,
    GetVolumes = 0x0305,
    ChangeVolume = 0x0307,

    // Node daemon's control socket
    Mount = 0x0401,
    Unmount = 0x0402,
    NodeStatus = 0x0403,
    Shutdown = 0x0404,
    Publish = 0x0405,
    Unpublish = 0x0406,
    GetPublished = 0x0407,
}
