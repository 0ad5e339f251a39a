namespace EphemeralFs.FuseMount.Keeper;

/// <summary>What a frame on the keeper's socket asks or says. Numbers are never reused.</summary>
public enum KeeperOpcode : ushort
{
    /// <summary>A daemon announces itself. Argument: its incarnation, 0 for a new daemon. Reply: <see cref="AttachReply"/>, then entries.</summary>
    Attach = 1,

    /// <summary>Stores or replaces an entry: key, payload, descriptors. Reply: <see cref="Reply"/>.</summary>
    Put = 2,

    /// <summary>Replaces the payload of an entry and keeps its descriptors. Reply: <see cref="Reply"/>.</summary>
    Update = 3,

    /// <summary>Removes an entry and closes its descriptors. Reply: <see cref="Reply"/>.</summary>
    Remove = 4,

    /// <summary>Asks for the status. Reply: <see cref="ListReply"/>, then one <see cref="ListItem"/> for each entry.</summary>
    List = 5,

    /// <summary>Replaces the running daemon. Argument: deadline in milliseconds for its stop; payload: a new command line or nothing.</summary>
    Handover = 6,

    /// <summary>Ends the daemon and the keeper. Argument: deadline in milliseconds.</summary>
    Shutdown = 7,

    /// <summary>Status only. Argument: for a handover the new incarnation.</summary>
    Reply = 100,

    /// <summary>Status, incarnation as argument; payload: <see cref="KeeperAttachInfo"/>. As many <see cref="Entry"/> frames follow as it says.</summary>
    AttachReply = 101,

    /// <summary>One entry with its descriptors.</summary>
    Entry = 102,

    /// <summary>Payload: <see cref="KeeperStatus"/> without the entries. Argument: how many items follow.</summary>
    ListReply = 103,

    /// <summary>Key; argument: payload bytes in the low, descriptors in the high 32 bits.</summary>
    ListItem = 104,

    /// <summary>Unasked, request id 0: finish what is in flight, answer nothing new, leave mounts and entries as they are, and exit.</summary>
    Stop = 200,
}
