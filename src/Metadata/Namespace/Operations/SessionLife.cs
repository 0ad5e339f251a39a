namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Begins and ends sessions.</summary>
public static class SessionLife
{
    /// <summary>A new session. Its id has the volume's id in the upper half, so that a request finds its volume.</summary>
    public static SessionState Begin(VolumeState v, string node, ulong opening = 0)
    {
        var session = new SessionState(((ulong)v.Id << 32) | ++v.SessionsOpened, node, opening);
        v.Sessions.Add(session.Id, session);
        return session;
    }

    /// <summary>Ends the context's session: closes its files, drops its locks and returns its grants.</summary>
    public static void End(VolumeState v, OpContext c)
    {
        var session = c.Session;
        v.Locks.ReleaseSession(session.Id, c.Granted, c.Dropped);

        // In the order of the handles: the order in which inodes are freed decides the order of the delete queues.
        foreach (var handle in session.Handles.Keys.Order().ToArray())
        {
            Opens.Close(v, c, session, handle);
        }

        ReturnGrant.Take(v, session, session.GrantBytes);
        v.Sessions.Remove(session.Id);
    }
}
