using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>Open handles: who has an inode open, and how its data may be treated there.</summary>
public static class Opens
{
    /// <summary>Registers a handle that the session does not have yet, and says how the session may treat the data.</summary>
    /// <remarks>When several sessions have a file open and one of them may write, all must write through. The service has made the others
    /// do so before it applies this.</remarks>
    public static DataMode Register(VolumeState state, SessionState session, Inode inode, ulong handle, bool write)
    {
        session.Handles.Add(handle, new OpenHandle(inode.Ino, write));
        var extras = inode.Extras ??= new InodeExtras();
        var index = extras.IndexOf(session.Id);
        if (index < 0)
        {
            index = extras.OpenerCount;
            extras.AddOpener(new Opener { Session = session.Id, Since = ++state.Opens });
        }

        var openers = extras.Openers;
        if (write)
        {
            openers[index].Writers++;
            openers[index].Quiet = false;
        }
        else
        {
            openers[index].Readers++;
        }

        return Share(inode, index);
    }

    /// <summary>A session that had become quiet is going to write again. As for <see cref="Register"/>, the service has made the others write through.</summary>
    public static DataMode Wake(SessionState session, Inode inode)
    {
        var index = inode.Extras!.IndexOf(session.Id);
        inode.Extras.Openers[index].Quiet = false;
        return Share(inode, index);
    }

    /// <summary>A program has closed the file; no other handle of the session may write.</summary>
    public static void BecomeQuiet(SessionState session, Inode inode)
    {
        if (inode.Extras is { } extras && extras.IndexOf(session.Id) is var index && index >= 0)
        {
            extras.Openers[index].Quiet = true;
        }
    }

    private static DataMode Share(Inode inode, int index)
    {
        var openers = inode.Extras!.Openers;
        if (openers.Length > 1 && inode.Attributes.IsRegular && AnyWriter(openers))
        {
            foreach (ref var opener in openers)
            {
                opener.Through = true;
            }
        }

        return openers[index].Through ? DataMode.Through : DataMode.Cached;
    }

    /// <summary>How a session that has the inode open may treat its data.</summary>
    public static DataMode ModeOf(SessionState session, Inode inode) =>
        inode.Extras is { } extras && extras.IndexOf(session.Id) is var index && index >= 0 && extras.Openers[index].Through
            ? DataMode.Through
            : DataMode.Cached;

    /// <summary>Unregisters a handle; the inode is freed when it has neither a name nor another handle. False when the session has no such handle.</summary>
    public static bool Close(VolumeState state, OpContext context, SessionState session, ulong handle)
    {
        if (!session.Handles.Remove(handle, out var open) || state.Inodes.Find(open.Ino) is not { Extras: { } extras } inode)
        {
            return false;
        }

        var index = extras.IndexOf(session.Id);
        ref var opener = ref extras.Openers[index];
        if (open.Write)
        {
            opener.Writers--;
        }
        else
        {
            opener.Readers--;
        }

        if (opener.Readers + opener.Writers == 0)
        {
            extras.RemoveOpenerAt(index);

            // No handle, no lock: what the node has not dropped it has forgotten (OFD locks that a replaced daemon took).
            state.Locks.ReleaseSession(session.Id, open.Ino, context.Granted);
            if (extras.OpenerCount == 0)
            {
                extras.Linkable = false;
                inode.TrimExtras();
                state.FreeIfUnused(context, inode);
            }
        }

        return true;
    }

    /// <summary>A session has committed what was dirty and writes through from now on. False when it has the inode not open.</summary>
    public static bool MarkThrough(VolumeState state, ulong session, ulong ino)
    {
        if (state.Inodes.Find(ino) is not { Extras: { } extras } || extras.IndexOf(session) is var index && index < 0)
        {
            return false;
        }

        extras.Openers[index].Through = true;
        return true;
    }

    /// <summary>Whether somebody may write now.</summary>
    internal static bool AnyWriter(ReadOnlySpan<Opener> openers)
    {
        foreach (ref readonly var opener in openers)
        {
            if (opener.IsWriting)
            {
                return true;
            }
        }

        return false;
    }
}
